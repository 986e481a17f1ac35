"""The progress bar of an epoch.

Lightning's RichProgressBar reads every metric in every step, which makes the host wait for the device. This one reads
the metrics only when it draws, a few times a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import Progress, TextColumn

from cifar100.long_steps.columns import CountColumn, TimeLeftColumn, bar_beside
from cifar100.training.reporting.epoch_recorder import epoch_number

SECONDS_BETWEEN_UPDATES = 0.25

_CHARACTERS_OF_TEXT = 71
"""Beside the bar: `epoch 100/100`, `1,000 of 1,000`, `loss 1.250  accuracy 50.00%`, `0:01:30 left` and the spaces."""


class EpochProgress(Callback):
    """Shows epoch, batches, training metrics and the time left in the epoch. Shows nothing without a terminal.

    Args:
        console: where to draw.
        metrics: returns the means over the images of this process; `loss` is shown as a number, the others in percent.
    """

    def __init__(self, console: Console, *, metrics: Callable[[], Mapping[str, float]]) -> None:
        self.metrics = metrics
        self.progress = Progress(
            TextColumn("{task.description}"),
            bar_beside(_CHARACTERS_OF_TEXT, console),
            CountColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeLeftColumn(),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal or console.is_dumb_terminal,
        )
        self.task = self.progress.add_task("", metrics="", visible=False)
        self.last_update = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start a bar: Lightning skips `on_train_epoch_start` if a run resumes mid-epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start a new bar."""
        self.progress.start()
        self._begin(f"epoch {epoch_number(trainer)}", trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar, a few times a second."""
        if self._is_due():
            values = self.metrics().items()
            text = (f"{name} {value:.3f}" if name == "loss" else f"{name} {value:6.2%}" for name, value in values)
            self.progress.update(self.task, completed=batch_idx + 1, metrics="  ".join(text))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the bar of the validation images."""
        self._begin("validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Advance the bar, a few times a second."""
        if self._is_due():
            self.progress.update(self.task, completed=batch_idx + 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the bar; the line of the epoch replaces it."""
        self.progress.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Release the terminal."""
        self.progress.stop()

    def _begin(self, description: str, total: float) -> None:
        self.progress.reset(self.task, total=total, description=description, metrics="", visible=True)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self.progress.disable or now - self.last_update < SECONDS_BETWEEN_UPDATES:
            return False
        self.last_update = now
        return True
