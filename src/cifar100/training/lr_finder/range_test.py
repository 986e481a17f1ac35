"""The learning-rate range test (Smith, 2017, arXiv:1506.01186)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng

from cifar100.long_steps import progress
from cifar100.process.stopping import take_over_again
from cifar100.training.lr_finder.suggestions import RangeTestResult, suggest
from cifar100.training.reporting.silence import quiet
from cifar100.training.trainer import callbacks_of, interrupts_kept

MIN_RATE, MAX_RATE = 1e-5, 10.0
"""Learning rates at which the test starts and ends."""

MIN_STEPS, MAX_STEPS = 300, 700
"""Limits of the number of steps, which is otherwise that of one epoch."""

MAX_LOSS_RATIO = 4.0
"""The test ends when a loss reaches this multiple of the smallest one."""

WINDOW = 1 / 30
"""Fraction of the steps over which losses are averaged to find that all that was gained is lost."""


def steps_of_test(steps_per_epoch: int) -> int:
    """Return the number of steps of a test."""
    return min(max(steps_per_epoch, MIN_STEPS), MAX_STEPS)


class RangeTest(Callback):
    """Raises the learning rate exponentially and records the loss of every step.

    The learning rate of parameters that Muon makes orthogonal is another setting and stays as it is.

    Args:
        num_steps: of the test, equally spaced on a log axis from `MIN_RATE` to `MAX_RATE`.
    """

    def __init__(self, num_steps: int = MIN_STEPS) -> None:
        self.learning_rates: list[float] = np.geomspace(MIN_RATE, MAX_RATE, num_steps).tolist()
        self.losses: list[float] = []
        self.advance: Callable[[int], None] = lambda steps: None
        """Called with the number of steps done since the last call."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals from Lightning."""
        take_over_again()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate of this step."""
        for group in trainer.optimizers[0].param_groups:
            if not group.get("orthogonal", False):
                group["lr"] = self.learning_rates[len(self.losses)] * group.get("lr_scale", 1.0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the mean loss over all processes; stop after the last step or when the loss has risen enough."""
        loss: Any = trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")
        self.losses.append(float(loss))
        self.advance(1)
        if len(self.losses) == len(self.learning_rates) or self._has_risen():
            trainer.should_stop = True

    def _has_risen(self) -> bool:
        """Return whether the loss has exploded, or is above its first level again after a fall."""
        exploded = not self.losses[-1] < MAX_LOSS_RATIO * min(self.losses)
        window = max(1, round(WINDOW * len(self.learning_rates)))
        if exploded or len(self.losses) < 3 * window:
            return exploded
        means = [np.mean(self.losses[start : start + window]) for start in range(0, len(self.losses) - window, window)]
        first, lowest, last = means[0], min(means), float(np.mean(self.losses[-window:]))
        return bool(lowest < 0.95 * first and last > first)


def range_test(trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule) -> RangeTestResult:
    """Run the range test. The module and its optimizer change; the random state does not.

    Args:
        trainer: has a `RangeTest` among its callbacks.
        module: the module to train.
        data: the data module with the training batches.

    Raises:
        UserError: no learning rate can be suggested from the losses.
    """
    test = next(callback for callback in callbacks_of(trainer) if isinstance(callback, RangeTest))
    total = len(test.learning_rates)
    with (
        quiet(),
        interrupts_kept(),
        isolate_rng(),
        progress("Learning-rate range test", total=total, silent=not trainer.is_global_zero) as advance,
    ):
        test.advance = advance
        trainer.fit(module, datamodule=data)
    return suggest(test.learning_rates[: len(test.losses)], test.losses)
