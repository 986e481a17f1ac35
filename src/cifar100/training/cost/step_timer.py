"""Time some training and validation steps of a Trainer, at every resolution of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from cifar100.config import Config, TrainingConfig
from cifar100.devices import wait_for
from cifar100.process.stopping import take_over_again
from cifar100.training.optimization.clock import StandingClock

STEPS = 3
"""Steps that are measured at each resolution, or more until `ENOUGH_SECONDS` have passed."""

ENOUGH_SECONDS = 1.0

JUST_BEFORE = 0.999
"""Progress at which a part of a run is measured, as a fraction of its end: the average of the weights is on by then."""


def part_ends(training: TrainingConfig) -> tuple[float, ...]:
    """Return the progress at which each part of a run ends: one for each of `training.resolutions`."""
    return (*(training.resolution_changes or ()), 1.0)


def part_sides(config: Config) -> tuple[int, ...]:
    """Return the side of the images in each part, in pixels."""
    return config.training.resolutions or (config.data.side,)


class StepTimer(Callback):
    """Measures the seconds of a training step in each part of a run, of a validation batch and of a save; then stops.

    Args:
        clock: of the run; moved to each part in turn.
        ends: progress at the end of each part, see `part_ends`.
        warm_up: steps before the first that counts. Worker processes have read batches ahead by then.
        checkpoint: where to save once.
    """

    def __init__(self, clock: StandingClock, ends: Sequence[float], *, warm_up: int, checkpoint: Path) -> None:
        self.clock = clock
        self.ends = list(ends)
        self.warm_up = warm_up
        self.checkpoint = checkpoint
        self.began = 0.0
        """`time.monotonic()` at the first step."""
        self.seconds_per_step: list[float] = []
        """Of each part."""
        self.seconds_per_validation_batch = 0.0
        self.seconds_per_save = 0.0
        self._steps = 0
        self._started = 0.0
        self._validation_ends: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals from Lightning, and move to the first part."""
        take_over_again()
        self.began = time.monotonic()
        self.clock.move_to(JUST_BEFORE * self.ends[0])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step; after enough of them, move to the next part or stop."""
        wait_for(trainer.strategy.root_device)
        now = time.monotonic()
        self._steps += 1
        if self._steps == self.warm_up:
            self._started = now
        measured = self._steps - self.warm_up
        is_enough = measured >= STEPS and now - self._started >= ENOUGH_SECONDS
        if not trainer.strategy.broadcast(is_enough, src=0):  # rank 0 decides for all
            return
        self.seconds_per_step.append((now - self._started) / measured)
        if len(self.seconds_per_step) == len(self.ends):
            trainer.should_stop = True
            return
        self.clock.move_to(JUST_BEFORE * self.ends[len(self.seconds_per_step)])
        self._steps, self.warm_up = 0, 1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a new validation: an epoch of few steps has several before the last step."""
        self._validation_ends = [time.monotonic()]

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Note the time."""
        wait_for(trainer.strategy.root_device)
        self._validation_ends.append(time.monotonic())

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the batches after the first, which warms up, if there are several."""
        ends = self._validation_ends[1:] if len(self._validation_ends) > 2 else self._validation_ends
        self.seconds_per_validation_batch = (ends[-1] - ends[0]) / max(1, len(ends) - 1)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the state once."""
        started = time.monotonic()
        trainer.save_checkpoint(self.checkpoint)
        self.seconds_per_save = time.monotonic() - started
