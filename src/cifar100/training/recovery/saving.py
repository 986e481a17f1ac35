"""Save the state of a run, with what an exact resumption needs beyond Lightning's own state."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from cifar100 import __version__
from cifar100.config import Config
from cifar100.runs.checkpoints import BEST, LAST, NETWORK_PREFIX, OWN_STATE, write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
from cifar100.settings import to_dict
from cifar100.training.optimization.ema import WeightAveraging
from cifar100.training.recovery.divergence import LossWatch, check_weights
from cifar100.training.recovery.signals import StopSignal
from cifar100.training.trainer import StepLearningRate, callbacks_of

LOOK_EVERY_STEPS = 20
"""Steps between two looks at the losses on a GPU, and between two agreements of several processes to save or stop. Both
are synchronisation points. A single process on a CPU looks after every step."""


class StopTraining(Exception):  # noqa: N818  # no error
    """Leaves Lightning's loops after a signal; the state is saved."""


class StateSaver(StepLearningRate, Checkpoint):
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

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the random state, from which a custom loader may draw the order of its images."""
        if self._restored:
            restore_random_state(self._restored["random_state"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals from Lightning. Mid-epoch, restore the random state again."""
        self.signal.install()
        self.signal.deferring = True
        self.last_save = time.monotonic()
        if self._restored.get("mid_epoch"):
            restore_random_state(self._restored["random_state"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, stop or detect a divergence; `on_train_epoch_end` does so after the last step of an epoch."""
        self.losses.add(outputs["loss"], step=trainer.global_step - 1, learning_rate=self.learning_rate)
        if trainer.is_last_batch or trainer.should_stop:
            return
        often = trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu"
        looks = often or (batch_idx + 1) % LOOK_EVERY_STEPS == 0
        if looks:
            self.losses.check(partial(_maximum, trainer))
        if looks or trainer.world_size == 1:
            self._save_or_stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the best weights; save if it is time to. Runs after the epoch is in the history."""
        self.losses.check(partial(_maximum, trainer))
        if self._is_best(trainer):
            self._best = weights_only_checkpoint(trainer, pl_module)
        last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.should_stop or last_epoch:
            self._save(trainer, pl_module)
        else:
            self._save_or_stop(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let a signal end the program at once."""
        self.signal.deferring = False

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Let a signal end the program at once."""
        self.signal.deferring = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not save."""
        progress: Any = trainer.fit_loop.epoch_progress.current
        checkpoint[OWN_STATE] = {
            "version": __version__,
            "finished_epochs": progress.processed,
            "mid_epoch": progress.started > progress.processed,
            "config": to_dict(self.config),
            "random_state": random_state(),
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep our part until the training starts."""
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
            return  # possibly the start of a divergence
        step = trainer.global_step - 1
        check_weights(
            pl_module.state_dict().values(), partial(_maximum, trainer), step=step, learning_rate=self.learning_rate
        )
        if self._best is not None:
            write_checkpoint(self._best, self.run.checkpoints / BEST)
            self._best = None
        for logger in trainer.loggers:
            logger.save()  # the logs must reach the disk before the state that counts them
        trainer.save_checkpoint(self.run.checkpoints / LAST)
        self.last_save = time.monotonic()


def weights_only_checkpoint(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
    """Return a Lightning checkpoint of the weights on the CPU, or of their average if there is one.

    `ImageClassifier.load_from_checkpoint` reads it.
    """
    averages = [callback.averaged for callback in callbacks_of(trainer) if isinstance(callback, WeightAveraging)]
    averaged = bool(averages) and averages[0].steps > 0
    if averaged:
        weights = {f"{NETWORK_PREFIX}{name}": value for name, value in averages[0].weights().items()}
    else:
        state = {name: value for name, value in pl_module.state_dict().items() if name.startswith(NETWORK_PREFIX)}
        weights = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
    return {
        "state_dict": weights,
        "averaged": averaged,
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "hyper_parameters": dict(pl_module.hparams),
        "pytorch-lightning_version": L.__version__,
    }


def random_state() -> dict[str, Any]:
    """Return the state of torch's global generators, uint8 tensors. The data pipeline does not use them."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators; states of absent GPUs are ignored."""
    torch.set_rng_state(state["cpu"])
    for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)


def _maximum(trainer: L.Trainer, values: Tensor) -> Tensor:
    """Return the elementwise maximum over all processes."""
    if trainer.world_size == 1:
        return values
    largest: Tensor = trainer.strategy.reduce(values.to(trainer.strategy.root_device, copy=True), reduce_op="max")
    return largest
