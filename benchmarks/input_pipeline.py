"""Measure images/s of the augmentation of the recipe `original`, in our two pipelines and in other libraries.

    python benchmarks/input_pipeline.py
    uv run --with torchvision --with kornia python benchmarks/input_pipeline.py

A pass is: shuffle, read, flip, shift/scale/rotate, cutout, normalise, for `--images` training images in batches of 64;
it ends when the last batch is on the device as float32 (64, 3, 32, 32). No network runs. Worker processes are started,
and everything is run once, before the time is taken; no batch is prepared in advance. All libraries take turns in one
process. The images/s are medians over the rounds; the ratios are medians of the ratios within a round. The libraries
need `pip install torchvision kornia`; the row of a missing one says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from measure import (
    describe_versions,
    interleaved,
    median_ratio,
    packed_loader,
    run_benchmark,
    show_table,
    this_device,
)
from peers import AlbumentationsImages, TorchvisionImages, kornia_augmentation, reason_missing

# isort: split
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.csv_labels import read_labels
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import Split
from cifar100.data.image_batches import normalize
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.data.loading.epoch_loader import Batch
from cifar100.devices import wait_for
from cifar100.settings import load_config

PACKED = "cifar100, packed"
KORNIA = "kornia, batches"
TORCHVISION = "torchvision v2, array"

Pass = Callable[[], Iterator[Batch]]
"""Makes the batches of one pass."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    options = parse(arguments)
    config = load_config("original", overrides={"data.root": options.root, "data.num_workers": options.workers})
    passes = Passes(config, num_images=options.images, num_workers=options.workers)
    try:
        missing = {TORCHVISION: reason_missing("torchvision"), KORNIA: reason_missing("kornia")}
        present = {name: make for name, make in passes.all().items() if not missing.get(name)}
        contestants = {name: partial(passes.drain, make) for name, make in present.items()}
        interleaved(contestants, repeats=1)  # starts the workers and fills the caches
        seconds = interleaved(contestants, repeats=options.repeats)
    finally:
        passes.close()
    show(passes, seconds, missing, repeats=options.repeats)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", type=Path, default=Path("dataset"))
    parser.add_argument("--images", type=int, default=20_000, help="training images of a pass (default: 20000)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each DataLoader (default: 2)")
    return parser.parse_args(arguments)


class Passes:
    """The contestants, all with the same images, batch size and device."""

    def __init__(self, config: Config, *, num_images: int, num_workers: int) -> None:
        self.config = config
        self.num_workers = num_workers
        self.device = this_device()
        self.folder = DataFolder(config.data.root)
        self.info: DatasetInfo = self.folder.info()
        everything = np.arange(self.info.num_train)
        self.num_images = min(num_images, len(everything))
        self.split = Split(train=everything[: self.num_images], validation=everything[self.num_images :])
        images, labels = self.folder.load("train")
        self.images, self.labels = images[: self.num_images], labels[: self.num_images]
        self.statistics = torch.tensor([config.data.mean, config.data.std], device=self.device)
        self.module = CifarDataModule(config, self.info, self.split)
        self.epoch = 0

    def all(self) -> dict[str, Pass]:
        """Name to pass, ours first."""
        files, _ = read_labels(self.folder.csv("train"), num_classes=self.info.num_classes)
        paths = [self.folder.images / file for file in files[: self.num_images]]
        augmentation = self.config.augmentation
        return {
            PACKED: self._packed(),
            "cifar100, images": self._ours_from_png(),
            "Albumentations, PNG": self._workers(AlbumentationsImages(paths, self.labels, augmentation)),
            "Albumentations, array": self._workers(AlbumentationsImages(self.images, self.labels, augmentation)),
            TORCHVISION: self._workers(TorchvisionImages(self.images, self.labels, augmentation)),
            KORNIA: self._kornia(),
        }

    def drain(self, make: Pass) -> None:
        """Run one pass, look at the kind of its batches, and wait for the device."""
        num_batches = 0
        for images, labels in make():
            assert images.shape[1:] == (3, 32, 32)
            assert images.dtype == torch.float32
            assert images.device.type == labels.device.type == self.device.type
            num_batches += 1
        wait_for(self.device)
        assert num_batches == self.num_images // self.config.data.images_per_step, num_batches
        self.epoch += 1

    def close(self) -> None:
        """Stop the workers."""
        self.module.teardown("fit")

    def _packed(self) -> Pass:
        loader = packed_loader(self.config, self.info, self.split, self.device)

        def make() -> Iterator[Batch]:
            loader.sampler.set_epoch(self.epoch)
            return iter(loader)

        return make

    def _ours_from_png(self) -> Pass:
        loader = self.module.train_dataloader()

        def make() -> Iterator[Batch]:
            loader.sampler.set_epoch(self.epoch)
            for images, labels in loader:
                yield self.module.on_after_batch_transfer((self._move(images), self._move(labels)), 0)

        return make

    def _workers(self, dataset: Dataset[tuple[Tensor, int]]) -> Pass:
        loader = DataLoader(
            dataset,
            batch_size=self.config.data.images_per_step,
            shuffle=True,
            drop_last=True,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=_way_to_start_workers() if self.num_workers else None,
        )

        def make() -> Iterator[Batch]:
            for images, labels in loader:
                yield normalize(self._move(images), *self.statistics), self._move(labels)

        return make

    def _kornia(self) -> Pass:
        """All images in device memory, as with our packed pipeline; kornia takes floating point only."""
        images, labels = self._move(torch.from_numpy(self.images)), self._move(torch.from_numpy(self.labels))
        mean, std = self.statistics[:, :, None, None]  # (3, 1, 1) each

        def make() -> Iterator[Batch]:
            augment = kornia_augmentation(self.config.augmentation)
            for rows in torch.split(torch.randperm(len(images)), self.config.data.images_per_step):
                if len(rows) == self.config.data.images_per_step:
                    chosen = self._move(rows)
                    yield (augment(images[chosen].float() / 255) - mean) / std, labels[chosen]

        return make

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)


def _way_to_start_workers() -> str:
    """Not by copying this process, in which threads run; as our own loader does."""
    return "forkserver" if sys.platform.startswith("linux") else "spawn"


def show(passes: Passes, seconds: dict[str, list[float]], missing: dict[str, str], *, repeats: int) -> None:
    """Print the table."""
    num_images = passes.num_images // passes.config.data.images_per_step * passes.config.data.images_per_step
    rows = [[name, reason, "", ""] for name, reason in missing.items() if reason]
    for name, times in reversed(seconds.items()):
        whole = name in (PACKED, KORNIA)
        how = f"whole batches on {passes.device.type}" if whole else f"one by one, {passes.num_workers} workers"
        rows.append([name, how, f"{num_images / median(times):,.0f}", f"{median_ratio(times, seconds[PACKED]):.2f}"])
    show_table(
        "Input pipeline: flip, shift/scale/rotate, cutout 16, normalise; batches of "
        f"{passes.config.data.images_per_step} on {passes.device.type}",
        ["contestant", "augments", "images/s", "packed is x times as fast"],
        rows[::-1],
        notes=[
            f"{num_images:,} images a pass, {repeats} rounds, medians. Data: {passes.info.describe()}.",
            "torchvision's affine fills with black where the others reflect.",
        ],
        versions=describe_versions("albumentations", "opencv-python-headless", "torchvision", "kornia"),
    )


if __name__ == "__main__":
    run_benchmark(main)
