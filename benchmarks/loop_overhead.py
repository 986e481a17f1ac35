"""Measure what Lightning and everything around it cost: our `train` compared with a bare PyTorch loop.

    python benchmarks/loop_overhead.py --recipe quickstart
    python benchmarks/loop_overhead.py --recipe fast --steps 400     # on a GPU

Both sides train the same network on the same batches with the same optimizer and schedule: one through
`cifar100.commands.train` as a user gets it, with its callbacks, metrics, progress bar (written to memory),
TensorBoard log and checkpoints, in a temporary folder; the other through the loop in this file. Both train on all
training images, none held out, so neither validates, and both make the same run: `--steps` steps in one epoch, or as
many whole epochs as fit into them.

The steps after the first `WARM_UP_STEPS` are timed, to the end of the last one on the device. Loading the data,
building the network and the warm-up are not timed. What our side does after its last step (metrics, checkpoint, files;
once an epoch) is timed separately and added in the ratio of a whole epoch. The sides take turns in one process; figures
are medians over the rounds, ratios are taken within a round.

Before that, each side runs once with deterministic algorithms, and their last losses and weights are compared. The exit
status is 1 if they differ by more than `TOLERANCE`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

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
import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn import functional as F

from cifar100.commands import train
from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.data.loading.epoch_loader import Batch, EpochLoader
from cifar100.devices import choose_precision, wait_for
from cifar100.errors import UserError
from cifar100.settings import load_config
from cifar100.training.experiment import Experiment, assemble, make_split
from cifar100.training.optimization.optimizers import build_optimizer
from cifar100.training.optimization.schedules import build_scheduler

WARM_UP_STEPS = 5

TOLERANCE = 1e-5
"""Largest difference of losses and weights, relative to their size. float32 rounds at 6e-8; a different order or a
different draw shows in the first digit."""


@dataclass
class Outcome:
    """What one side did. Times in seconds."""

    steps_seconds: float
    """From the end of the warm-up to the end of the last step, on the device."""

    end_seconds: float
    """From there to the end of the training: what is done once an epoch."""

    loss: float
    """Of the last step."""

    weights: dict[str, Tensor]


class Stopwatch(Callback):
    """Times the steps of a run under Lightning, as `train_bare` times its own."""

    def __init__(self) -> None:
        self.started = self.steps_ended = 0.0
        self.steps_done = 0
        self.loss = torch.zeros(())

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start after the warm-up, stop after the last step."""
        self.steps_done += 1
        if self.steps_done == WARM_UP_STEPS:
            wait_for(pl_module.device)
            self.started = time.perf_counter()
        if self.steps_done == trainer.estimated_stepping_batches:
            wait_for(pl_module.device)
            self.steps_ended = time.perf_counter()
            self.loss = outputs["loss"].detach()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the weights, before the network leaves the device."""
        wait_for(pl_module.device)
        self.fit_ended = time.perf_counter()
        self.weights = _copy_of_weights(pl_module.network)


def train_ours(config: Config) -> Outcome:
    """Train as `cifar100 train` does, on a terminal of its own and in a folder of its own."""
    stopwatch = Stopwatch()
    with _own_folder_and_terminal():
        train(config, callbacks=[stopwatch])
    return Outcome(
        stopwatch.steps_ended - stopwatch.started,
        stopwatch.fit_ended - stopwatch.steps_ended,
        stopwatch.loss.item(),
        stopwatch.weights,
    )


def train_bare(config: Config) -> Outcome:
    """Train in a plain loop."""
    device = this_device()
    experiment = _assemble(config)
    network = experiment.module.network.to(device).train()
    mode = None if config.training.compile == "none" else config.training.compile
    if mode:
        network.compile(mode=mode)
    learning_rate = float(config.optimization.learning_rate)
    optimizer = build_optimizer(network, config.optimization, learning_rate, compile_mode=mode)
    scheduler = build_scheduler(optimizer, config.optimization, experiment.clock)
    loader, limit = _loader(experiment, device), experiment.steps_per_epoch
    bf16 = choose_precision(config.training.precision, device.type) == "bf16-mixed"
    torch.use_deterministic_algorithms(config.training.deterministic)
    torch.backends.cudnn.benchmark = not config.training.deterministic
    steps_done, started = 0, 0.0
    loss: Any  # torch's releases type `backward` differently

    for epoch in range(int(config.training.max_epochs or 1)):
        loader.sampler.set_epoch(epoch)
        for _, batch in zip(range(limit), loader, strict=False):
            images, labels = _on_device(batch, experiment, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(network(images), labels, label_smoothing=config.optimization.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            steps_done += 1
            if steps_done == WARM_UP_STEPS:
                wait_for(device)
                started = time.perf_counter()

    wait_for(device)
    seconds = time.perf_counter() - started
    experiment.data.teardown("fit")
    loader.close()
    return Outcome(seconds, 0.0, loss.item(), _copy_of_weights(network))


def _assemble(config: Config) -> Experiment:
    return assemble(config, DataFolder(config.data.root).info(), make_split(config))


def _loader(experiment: Experiment, device: torch.device) -> EpochLoader:
    if experiment.config.data.pipeline == "packed":
        loader = packed_loader(experiment.config, experiment.info, _data(experiment).split, device)
        loader.resolution = _data(experiment).resolution
        return loader
    return _data(experiment).train_dataloader()


def _on_device(batch: Batch, experiment: Experiment, device: torch.device) -> Batch:
    images, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
    return _data(experiment).on_after_batch_transfer((images, labels), 0)


def _data(experiment: Experiment) -> CifarDataModule:
    assert isinstance(experiment.data, CifarDataModule)
    return experiment.data


def _copy_of_weights(network: Any) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


@contextlib.contextmanager
def _own_folder_and_terminal() -> Iterator[None]:
    """Work in a temporary folder, and write to a terminal in memory, so that the bar is shown."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
        mock.patch.dict(os.environ, {"FORCE_COLOR": "1"}),
    ):
        yield


def relative_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the norm of the difference of all floating-point weights, as a fraction of the norm of the weights."""
    names = [name for name, value in one.items() if value.is_floating_point()]
    first, second = (torch.cat([weights[name].double().flatten() for name in names]) for weights in (one, other))
    return float((first - second).norm() / first.norm())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 where the two sides do not train the same network."""
    options = parse(arguments)
    config = configure(options.recipe, options.root, options.steps)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products on CUDA need
    checked = replace(config, training=replace(config.training, deterministic=True))
    ours, bare = train_ours(checked), train_bare(checked)
    torch.use_deterministic_algorithms(False)
    weights_difference = relative_difference(ours.weights, bare.weights)
    agrees = max(weights_difference, abs(ours.loss - bare.loss) / abs(bare.loss)) <= TOLERANCE
    outcomes: dict[str, list[Outcome]] = {"ours": [], "bare": []}
    contestants: dict[str, Callable[[], object]] = {
        "ours": lambda: outcomes["ours"].append(train_ours(config)),
        "bare": lambda: outcomes["bare"].append(train_bare(config)),
    }
    interleaved(contestants, repeats=options.repeats)
    agreement = (
        f"Last loss {ours.loss:.8f} and {bare.loss:.8f}; weights differ by {weights_difference:.1e} of their norm: "
        + ("the same." if agrees else f"NOT THE SAME (tolerance {TOLERANCE:g}).")
    )
    show(config, outcomes, agreement)
    return 0 if agrees else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="original", help="default: original")
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", type=Path, help="default: the recipe's")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of a run (default: 100)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    return parser.parse_args(arguments)


def configure(recipe: str, root: Path | None, steps: int) -> Config:
    """Return the recipe's settings for a run of `steps` steps on all training images.

    Raises:
        UserError: too few steps, or a precision that the bare loop lacks.
    """
    if steps <= WARM_UP_STEPS:
        raise UserError(f"--steps is {steps}, but it must be more than the {WARM_UP_STEPS} of the warm-up.")
    overrides: dict[str, Any] = {**data_settings(recipe, root), "data.validation_fraction": 0}
    overrides["training.max_minutes"] = None
    config = load_config(recipe, overrides={**overrides, "training.max_epochs": 1})
    if config.training.precision == "16-mixed":
        raise UserError("the bare loop of this benchmark has no gradient scaler; use a recipe without 16-mixed.")
    extras = config.optimization
    if extras.sam != "none" or extras.ema_decay is not None or extras.teacher is not None:
        raise UserError("the bare loop of this benchmark has no SAM, moving average or teacher; use another recipe.")
    steps_per_epoch = _assemble(config).steps_per_epoch
    overrides["training.max_epochs"] = max(1, steps // steps_per_epoch)
    overrides["training.limit_train_batches"] = min(steps, steps_per_epoch)
    return load_config(recipe, overrides=overrides)


def show(config: Config, outcomes: dict[str, list[Outcome]], agreement: str) -> None:
    """Print the table."""
    per_epoch = config.training.limit_train_batches or 0
    timed_steps = per_epoch * int(config.training.max_epochs or 1) - WARM_UP_STEPS
    seconds = {name: [outcome.steps_seconds for outcome in side] for name, side in outcomes.items()}
    ratio = median_ratio(seconds["ours"], seconds["bare"])
    rows = []
    for name, label in (("bare", "bare PyTorch loop"), ("ours", "cifar100 train")):
        step = median(seconds[name]) / timed_steps
        end = median(outcome.end_seconds for outcome in outcomes[name])
        rows.append(
            [label, f"{median(seconds[name]):.3f}", f"{step * 1e3:.3f}", f"{config.data.images_per_step / step:,.0f}"]
        )
        rows[-1] += [f"{end:.3f}", f"{ratio:.4f}" if name == "ours" else "1"]
    epoch_ratio = whole_epoch_ratio(config, outcomes, timed_steps)
    show_table(
        f"Loop overhead: recipe {config.recipe}, {config.data.pipeline} pipeline, {this_device().type}",
        ["loop", "steps s", "ms a step", "images/s", "end of epoch s", "ratio"],
        rows,
        notes=[
            f"{timed_steps} steps of {config.data.images_per_step} images after {WARM_UP_STEPS} to warm up, "
            f"{config.training.max_epochs:g} epoch(s); {len(outcomes['ours'])} rounds, medians.",
            f"Ratio of a whole epoch of the recipe, with the end of epoch: {epoch_ratio:.4f}.",
            agreement,
        ],
        versions=describe_versions(),
    )


def whole_epoch_ratio(config: Config, outcomes: dict[str, list[Outcome]], timed_steps: int) -> float:
    """Return the ratio of an epoch as long as the recipe's, computed from the time of a step and of an epoch's end.

    Where the timed steps spread over several epochs, all ends but the last are in them already.
    """
    everything = replace(config, training=replace(config.training, limit_train_batches=None))
    steps = _assemble(everything).steps_per_epoch
    ours, bare = outcomes["ours"], outcomes["bare"]
    epochs = [side.steps_seconds / timed_steps * steps + side.end_seconds for side in ours]
    return median_ratio(epochs, [side.steps_seconds / timed_steps * steps for side in bare])


if __name__ == "__main__":
    run_benchmark(main)
