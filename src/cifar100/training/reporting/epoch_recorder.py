"""Measures each epoch and records it in `metrics.json`, `training.log` and on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L

from cifar100.metrics import METRICS, label, text
from cifar100.runs.history import Epoch, History
from cifar100.training.optimization.clock import RunClock
from cifar100.training.optimization.ema import WeightAveraging
from cifar100.training.reporting.epoch_table import EpochTable
from cifar100.training.reporting.run_log import RunLog, format_seconds
from cifar100.training.trainer import StepLearningRate, callbacks_of


class EpochRecorder(StepLearningRate):
    """Measures each epoch and records it in `metrics.json`, `training.log` and on the screen.

    Args:
        history: receives the epochs; only rank 0 writes.
        run_log: receives one line per epoch.
        clock: of the run.
        train_metrics: returns the training metrics of the epoch, over all processes; called on every rank.
    """

    def __init__(
        self, history: History, run_log: RunLog, clock: RunClock, *, train_metrics: Callable[[], Mapping[str, float]]
    ) -> None:
        self.history = history
        self.run_log = run_log
        self.table = EpochTable(run_log)
        self.clock = clock
        self.train_metrics = train_metrics
        self.steps = self.images = 0
        self.validated = False
        self.epoch_started = self.batches_ended = time.perf_counter()

    def state_dict(self) -> dict[str, float]:
        """Return the steps, images and seconds of the present epoch so far."""
        training = self.batches_ended - self.epoch_started
        return {
            "steps": self.steps,
            "images": self.images,
            "training": training,
            "seconds": time.perf_counter() - self.epoch_started,
        }

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore them; the start of an epoch resets them."""
        self.steps, self.images = int(state_dict["steps"]), int(state_dict["images"])
        self.epoch_started = time.perf_counter() - state_dict["seconds"]
        self.batches_ended = self.epoch_started + state_dict["training"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop epochs that were recorded but not saved: they are repeated."""
        self.history.keep(trainer.current_epoch)
        self.table.begin(has_validation=bool(trainer.val_dataloaders))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the stopwatch. Before Python 3.13, `time.monotonic` of Windows counts in steps of 16 ms."""
        self.epoch_started = time.perf_counter()
        self.steps = self.images = 0
        self.validated = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the stopwatch of the training part; validation follows."""
        self.batches_ended = time.perf_counter()
        self.steps += 1
        self.images += len(batch[0]) * trainer.world_size

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record that this epoch has validation metrics."""
        self.validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the epoch. Runs before the module's own hook, which resets the metrics."""
        values = {name: round(value, 6) for name, value in self.train_metrics().items()}
        metrics = trainer.callback_metrics if self.validated else {}  # they keep those of earlier epochs
        validation = {name: value for name, value in metrics.items() if name.startswith("val/")}
        values |= {name: round(value.item(), 6) for name, value in validation.items()}
        if validation and _averages(trainer):
            values["val/averaged"] = 1
        if not trainer.is_global_zero:
            return
        epoch: Epoch = {
            "epoch": trainer.current_epoch + 1,
            **values,
            "learning_rate": self.learning_rate,
            "images_per_second": round(self.images / (self.batches_ended - self.epoch_started), 1),
            "seconds": round(time.perf_counter() - self.epoch_started, 3),
        }
        self.history.add(epoch)
        seconds_left = self.clock.seconds_left(epoch["seconds"] / self.steps)
        left, number = format_seconds(seconds_left), epoch_number(trainer)
        num_epochs = round(epoch["epoch"] + seconds_left / max(epoch["seconds"], 0.001))
        self.table.add(epoch, number=number, left=left, num_epochs=num_epochs)
        self.run_log.write(_log_line(number, epoch, left, self.history.best()))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the last epoch."""
        self.table.end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Show the last epoch before a signal or an error."""
        self.table.end()


def _averages(trainer: L.Trainer) -> bool:
    return any(
        isinstance(callback, WeightAveraging) and callback.averaged.steps > 0 for callback in callbacks_of(trainer)
    )


def epoch_number(trainer: L.Trainer) -> str:
    """Return the number of the present epoch, counted from 1, with the total if that is known."""
    number = str(trainer.current_epoch + 1)
    return f"{number}/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else number


def _log_line(number: str, epoch: Epoch, left: str, best: Epoch | None) -> str:
    parts = [f"epoch {number}", f"loss {epoch['train/loss']:.4f}"]
    parts.append(f"accuracy {epoch['train/accuracy']:.2%}")
    parts += [f"val {label(name)} {text(name, epoch[f'val/{name}'])}" for name in METRICS if f"val/{name}" in epoch]
    if "val/averaged" in epoch:
        parts.append("of averaged weights")
    parts += [f"learning rate {epoch['learning_rate']:.3e}", f"{epoch['images_per_second']:,.0f} images/s"]
    if best:
        parts.append(f"best {best['val/accuracy']:.2%} (epoch {best['epoch']:.0f})")
    return ", ".join([*parts, f"{left} left"])
