"""Measure what each ingredient of accuracy costs: time of a training step with it, relative to one without.

    python benchmarks/ingredient_cost.py --recipe laptop
    python benchmarks/ingredient_cost.py --recipe baseline      # on a GPU

A step is all that `train` does in one, without Lightning: a batch augmented on the device, forward, backward,
optimizer, metrics, moving average. All variants take turns in rounds of `--steps` steps; ratios are taken within a
round. Ingredients that a recipe's network cannot have are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from measure import (
    data_settings,
    describe_versions,
    interleaved,
    median_ratio,
    packed_loader,
    run_benchmark,
    show_table,
    this_device,
)

# isort: split
import torch

from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder
from cifar100.data.loading.epoch_loader import Batch
from cifar100.devices import choose_precision, wait_for
from cifar100.errors import UserError
from cifar100.settings import load_config
from cifar100.training.experiment import assemble, make_split
from cifar100.training.optimization.ema import AveragedWeights
from cifar100.training.optimization.optimizers import build_optimizer

PLAIN: dict[str, Any] = {
    "data.pipeline": "packed",
    "data.validation_fraction": 0,
    "augmentation.policy": "none",
    "augmentation.cutout": 0,
    "augmentation.cutout_probability": 0.5,
    "augmentation.cutout_mixed": True,
    "augmentation.random_erasing_probability": 0,
    "augmentation.random_erasing_mixed": True,
    "augmentation.mixup_probability": 0,
    "augmentation.mixup_alpha": 0.2,
    "augmentation.cutmix_probability": 0,
    "augmentation.cutmix_alpha": 1.0,
    "model.stochastic_depth": None,
    "model.shortcut": None,
    "optimization.label_smoothing": None,
    "optimization.sam": "none",
    "optimization.ema_decay": None,
    "optimization.ema_final_decay": None,
    "optimization.ema_start": 0,
    "training.resolutions": None,
    "training.resolution_changes": None,
    "training.max_minutes": None,
    "training.compile": "none",
}
"""A recipe without its ingredients: crop and flip, network, optimizer."""

INGREDIENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cutout": {"augmentation.cutout": 8, "augmentation.cutout_probability": 1},
    "random erasing": {"augmentation.random_erasing_probability": 0.25},
    "mixup": {"augmentation.mixup_probability": 1},
    "CutMix": {"augmentation.cutmix_probability": 1},
    "AutoAugment": {"augmentation.policy": "auto_augment"},
    "RandAugment": {"augmentation.policy": "rand_augment"},
    "TrivialAugment": {"augmentation.policy": "trivial_augment"},
    "label smoothing": {"optimization.label_smoothing": 0.1},
    "stochastic depth": {"model.stochastic_depth": 0.1},
    "ResNet-D shortcuts": {"model.shortcut": "average_pool"},
    "moving average": {"optimization.ema_decay": 0.999},
    "SAM": {"optimization.sam": "sam"},
    "Friendly SAM": {"optimization.sam": "friendly"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="laptop", help="default: laptop")
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", type=Path, help="default: the recipe's")
    parser.add_argument("--steps", type=int, default=4, help="steps of a timing (default: 4)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    options = parser.parse_args(arguments)
    contestants: dict[str, Steps] = {}
    for name, ingredient in INGREDIENTS.items():
        given = {**data_settings(options.recipe, options.root), **PLAIN, **ingredient}
        try:
            config = load_config(options.recipe, overrides=given)
        except UserError:
            continue
        contestants[name] = Steps(config, count=options.steps)
    interleaved(contestants, repeats=1)  # warm
    seconds = interleaved(contestants, repeats=options.repeats)
    images = options.steps * config.data.images_per_step
    show_table(
        f"Training steps of recipe {options.recipe} with one ingredient each, batch {config.data.images_per_step}, "
        f"{this_device().type}",
        ["ingredient", "ms a step", "images/s", "time ratio"],
        [
            [
                name,
                f"{1000 * median(times) / options.steps:.1f}",
                f"{images / median(times):,.0f}",
                f"{median_ratio(times, seconds['plain']):.2f}",
            ]
            for name, times in seconds.items()
        ],
        notes=[f"{options.repeats} rounds of {options.steps} steps each, medians."],
        versions=describe_versions(),
    )
    return 0


class Steps:
    """Some training steps with the settings of a run."""

    def __init__(self, config: Config, *, count: int) -> None:
        self.device = this_device()
        self.count = count
        self.precision = choose_precision("auto", self.device.type)
        split = make_split(config)
        info = DataFolder(config.data.root).info()
        self.module = assemble(config, info, split).module.to(self.device).train()
        self.optimizer = build_optimizer(self.module.network, config.optimization, 1e-3)
        self.averaged = AveragedWeights(self.module.network) if config.optimization.ema_decay is not None else None
        self.loader = packed_loader(config, info, split, self.device)
        self.batches = self._forever()

    def __call__(self) -> None:
        """Train, and wait for the device."""
        for _ in range(self.count):
            batch = next(self.batches)
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
                loss = self.module.training_step(batch, 0)
            torch.autograd.backward(loss)
            self.optimizer.step()
            if self.averaged is not None:
                self.averaged.update(0.999)
        wait_for(self.device)

    def _forever(self) -> Iterator[Batch]:
        epoch = 0
        while True:
            self.loader.sampler.set_epoch(epoch)
            yield from self.loader
            epoch += 1


if __name__ == "__main__":
    run_benchmark(main)
