"""Save the state of a run: when, and what an exact resumption needs beside Lightning's own state."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor

from cifar100 import __version__
from cifar100.config import Config
from cifar100.runs.checkpoints import BEST, LAST, NETWORK_PREFIX, write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
from cifar100.settings import to_dict
from cifar100.training.optimization.ema import WeightAveraging
from cifar100.training.recovery.divergence import LossWatch, check_weights
from cifar100.training.recovery.signals import StopSignal

LOOK_EVERY_STEPS = 20
"""How often the host checks the losses on a GPU, and how often several processes agree whether to save or to stop. Both
make them wait for each other. A single process on a CPU checks after every step."""

OWN_STATE = "cifar100"
"""Key of this project's part of a checkpoint."""


class StopTraining(Exception):  # noqa: N818  # no error
    """Leaves Lightning's loops after a signal; the state is saved."""


class StateSaver(Checkpoint):
    """Saves the state of a run, also mid-epoch, and ends the run at a signal or a divergence.

    It saves every `training.save_every_minutes`, at a signal and at the end. The weights of the best epoch stay in
    memory until then: a run that is killed in between repeats that epoch anyway. All processes take the same decisions.

    Args:
        run: where to save.
        config: saved in every checkpoint, as numbers and text.
        history: names the best epoch.
        signal: checked after every step.
    """

    def __init__(self, run: RunFolder, config: Config, *, history: History, signal: StopSignal) -> None:
        self.run = run
        self.config = config
        self.history = history
        self.signal = signal
        self.losses = LossWatch(config.training.max_nonfinite_losses)
        self.interval_seconds = 60 * config.training.save_every_minutes
        self.last_save = time.monotonic()
        self._best: dict[str, Any] | None = None
        self._restored: dict[str, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals from Lightning, and restore what it does not."""
        self.signal.install()
        self.signal.deferring = True
        self.last_save = time.monotonic()
        if self._restored:
            restore_random_state(self._restored["random_state"])
            if trainer.is_global_zero:  # the sums over all processes
                restore_metrics(pl_module, self._restored["train_metrics"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, stop or detect a divergence; after the last step of an epoch, `on_train_epoch_end` does it."""
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.losses.add(outputs["loss"], step=trainer.global_step - 1, learning_rate=rate)
        if trainer.is_last_batch or trainer.should_stop:
            return
        often = trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu"
        looks = often or (batch_idx + 1) % LOOK_EVERY_STEPS == 0
        if looks:
            self.losses.check(partial(_maximum, trainer))
        if looks or trainer.world_size == 1:
            self._save_or_stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the best weights; save if it is time. Runs after the epoch is in the history."""
        self.losses.check(partial(_maximum, trainer))
        if self._is_best(trainer):
            self._best = weights_only_checkpoint(trainer, pl_module)
        last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.should_stop or last_epoch:
            self._save(trainer, pl_module)
        else:
            self._save_or_stop(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop deferring: a signal now ends the run at once."""
        self.signal.deferring = False

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stop deferring: a signal now ends the run at once."""
        self.signal.deferring = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out of a checkpoint."""
        progress: Any = trainer.fit_loop.epoch_progress.current
        checkpoint[OWN_STATE] = {
            "version": __version__,
            "finished_epochs": progress.processed,
            "config": to_dict(self.config),
            "random_state": random_state(),
            "train_metrics": metric_sums(trainer, pl_module),
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep our part until the training begins."""
        self._restored = checkpoint.get(OWN_STATE, {})

    def _is_best(self, trainer: L.Trainer) -> bool:
        best = self.history.best() if trainer.is_global_zero else None
        return best is not None and best["epoch"] == trainer.current_epoch + 1

    def _save_or_stop(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        is_due = time.monotonic() - self.last_save >= self.interval_seconds
        wanted = torch.tensor([self.signal.received or 0, int(is_due)])
        received, due = _maximum(trainer, wanted).tolist()
        if received or due:
            self._save(trainer, pl_module)
        if received:
            self.signal.received = received
            raise StopTraining

    def _save(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.losses.check(partial(_maximum, trainer)):
            return  # it may be the beginning of a divergence
        rate, step = trainer.optimizers[0].param_groups[0]["lr"], trainer.global_step - 1
        check_weights(pl_module.state_dict().values(), partial(_maximum, trainer), step=step, learning_rate=rate)
        if self._best is not None:
            write_checkpoint(self._best, self.run.checkpoints / BEST)
            self._best = None
        for logger in trainer.loggers:
            logger.save()  # what the state counts as logged must be on the disk
        trainer.save_checkpoint(self.run.checkpoints / LAST)
        self.last_save = time.monotonic()


def weights_only_checkpoint(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
    """Return a copy of the weights and of their average in CPU memory, as a Lightning checkpoint."""
    state = {name: value for name, value in pl_module.state_dict().items() if name.startswith(NETWORK_PREFIX)}
    weights = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
    checkpoint = {"state_dict": weights, "epoch": trainer.current_epoch, "global_step": trainer.global_step}
    callbacks: list[Callback] = getattr(trainer, "callbacks")  # noqa: B009  # Lightning sets it without declaring it
    for callback in callbacks:
        if isinstance(callback, WeightAveraging):
            callback.on_save_checkpoint(trainer, pl_module, checkpoint)
    return checkpoint


def random_state() -> dict[str, Any]:
    """Return the state of torch's global generators, uint8 tensors. The data's random parameters need none."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators, except those of GPUs that this machine lacks."""
    torch.set_rng_state(state["cpu"])
    for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)


def metric_sums(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, dict[str, Tensor]]:
    """Return the sums in the epoch's training metrics so far, over all processes: name -> state -> tensor."""
    metrics: Any = pl_module.train_metrics
    sums: dict[str, dict[str, Tensor]] = {}
    for name, metric in metrics.items(keep_base=True):
        state = metric.metric_state.items()
        sums[name] = {key: trainer.strategy.reduce(value.clone(), reduce_op="sum") for key, value in state}
    return sums


def restore_metrics(pl_module: L.LightningModule, sums: dict[str, dict[str, Tensor]]) -> None:
    """Set the sums that `metric_sums` returned."""
    metrics: Any = pl_module.train_metrics
    for name, metric in metrics.items(keep_base=True):
        for key, value in sums[name].items():
            setattr(metric, key, value.to(metric.device))
        metric._update_count = 1  # else torchmetrics warns that there is nothing to compute


def _maximum(trainer: L.Trainer, values: Tensor) -> Tensor:
    """Return the elementwise maximum over all processes."""
    if trainer.world_size == 1:
        return values
    largest: Tensor = trainer.strategy.reduce(values.to(trainer.strategy.root_device, copy=True), reduce_op="max")
    return largest
