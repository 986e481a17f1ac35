"""Save the state of a run, with what an exact resumption needs beyond Lightning's own state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from cifar100 import __version__
from cifar100.config import Config
from cifar100.errors import Diverged, UserError
from cifar100.process.stopping import StopSignal
from cifar100.runs.checkpoints import NETWORK_PREFIX, OWN_STATE, write_checkpoint
from cifar100.runs.folder import BEST, LAST, RunFolder
from cifar100.runs.history import History
from cifar100.runs.status import FolderWatch
from cifar100.settings import to_dict
from cifar100.training.optimization.ema import AveragedWeights, WeightAveraging
from cifar100.training.recovery.checkpoint_io import IN_MEMORY, SafeCheckpointIO
from cifar100.training.recovery.divergence import LossWatch, check_weights
from cifar100.training.reporting.step_losses import complete_step_losses
from cifar100.training.trainer import LOOK_EVERY_STEPS, StepLearningRate, callbacks_of


class StopTraining(Exception):  # noqa: N818  # no error
    """Leaves Lightning's loops after a signal. The message says what is saved."""


class StateSaver(StepLearningRate, Checkpoint):
    """Saves the state of a run, also mid-epoch, and ends the run at a signal or a divergence.

    It saves every `training.save_every_minutes`, at a signal and at the end. The weights of the best epoch and the
    state after the last good one stay in memory until then: a run that is killed in between repeats that epoch anyway.
    A run that diverges or fails writes both. All processes take the same decisions.

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
        self.folder = FolderWatch(run)
        self.losses = LossWatch(config.training.max_nonfinite_losses)
        self.interval_seconds = 60 * config.training.save_every_minutes
        self.last_save = time.monotonic()
        self.saved_step: int | None = None
        """Optimizer steps of the newest state on disk."""
        self._step_in_memory: int | None = None
        self._not_finite: set[str] = set()
        """Tensors that are not finite from the start, such as a mask of -inf in a custom network."""
        self._best: dict[str, Any] | None = None
        self._restored: dict[str, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the random state, from which a custom loader may draw the order of its images."""
        self._not_finite = {name for name, value in pl_module.state_dict().items() if not torch.isfinite(value).all()}
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
            self._last_loss_is_finite(trainer)
        if looks or trainer.world_size == 1:
            self._save_or_stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the best weights; save if it is time to. Runs after the epoch is in the history."""
        last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        is_last = bool(trainer.should_stop or last_epoch)
        is_finite = self._last_loss_is_finite(trainer, at_the_end=is_last)
        self._check_weights(trainer, pl_module)
        if self._is_best(trainer):
            self._best = weights_only_checkpoint(trainer, pl_module)
        self._save_or_stop(trainer, pl_module, now=is_last)
        if is_finite and self.saved_step != trainer.global_step:
            self._save_in_memory(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what a callback of the caller has ended in another way than our own; no run ends unsaved."""
        if self.saved_step != trainer.global_step:
            self._last_loss_is_finite(trainer, at_the_end=True)
            self._save(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save what is in memory. A first signal waits for that, as torch's after the loss of another rank does."""
        try:
            self._write_what_is_in_memory(trainer)
        finally:
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
        self.saved_step = checkpoint["global_step"]

    def _is_best(self, trainer: L.Trainer) -> bool:
        best = self.history.best() if trainer.is_global_zero else None
        return best is not None and best["epoch"] == trainer.current_epoch + 1

    def _save_or_stop(self, trainer: L.Trainer, pl_module: L.LightningModule, *, now: bool = False) -> None:
        is_due = now or time.monotonic() - self.last_save >= self.interval_seconds
        wanted = torch.tensor([self.signal.received or 0, int(is_due)])
        received, due = _maximum(trainer, wanted).tolist()
        if received or due:
            self._save(trainer, pl_module)
        if received:
            self.signal.received = received
            raise StopTraining(self._stopped_at(trainer))

    def _save(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the state, unless the last loss was not finite: that may be the start of a divergence."""
        if not self._last_loss_is_finite(trainer):
            return
        self._check_weights(trainer, pl_module)
        self.folder.check()
        self._write_best()
        complete_step_losses(trainer)
        for logger in trainer.loggers:
            logger.save()  # the logs must reach the disk before the state that counts them
        trainer.save_checkpoint(self.run.checkpoints / LAST)
        self.saved_step, self._step_in_memory = trainer.global_step, None
        self.last_save = time.monotonic()

    def _save_in_memory(self, trainer: L.Trainer) -> None:
        """Keep a good state, which is written if the run diverges or fails before the next save."""
        trainer.save_checkpoint(self.run.checkpoints / LAST, storage_options=IN_MEMORY)
        self._step_in_memory = trainer.global_step

    def _write_what_is_in_memory(self, trainer: L.Trainer) -> str:
        """Write the best weights and the last good state; return what cannot be written, and why."""
        try:
            self.folder.check()
            self._write_best()
            if self._step_in_memory is not None:
                cast(SafeCheckpointIO, trainer.strategy.checkpoint_io).write_kept()
                self.saved_step, self._step_in_memory = self._step_in_memory, None
        except UserError as error:
            return str(error)
        return ""

    def _write_best(self) -> None:
        if self._best is not None:
            write_checkpoint(self._best, self.run.checkpoints / BEST)
            self._best = None

    def _stopped_at(self, trainer: L.Trainer) -> str:
        """Return after which step the run stops, and which step is saved."""
        step = trainer.global_step
        if self.saved_step == step:
            return f"Saved after step {step:,}."
        problem = self._write_what_is_in_memory(trainer)
        return f"Stopped after step {step:,}, whose loss was not finite; {problem or self._saved()}."

    def _saved(self) -> str:
        if self.saved_step is None:
            return "no earlier state was finite, so none is saved"
        return f"the last good state, after step {self.saved_step:,}, is saved"

    def _last_loss_is_finite(self, trainer: L.Trainer, *, at_the_end: bool = False) -> bool:
        with self._saving_before_the_divergence(trainer):
            return self.losses.check(partial(_maximum, trainer), at_the_end=at_the_end)

    def _check_weights(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        averages = [value for average in averages_of(trainer) for value in average.tensors]
        own = [value for name, value in pl_module.state_dict().items() if name not in self._not_finite]
        step, rate = trainer.global_step - 1, self.learning_rate
        with self._saving_before_the_divergence(trainer):
            check_weights([*own, *averages], partial(_maximum, trainer), step=step, learning_rate=rate)

    @contextmanager
    def _saving_before_the_divergence(self, trainer: L.Trainer) -> Iterator[None]:
        """Write the last good state if the block finds a divergence, and add to the message what is saved."""
        try:
            yield
        except Diverged as error:
            problem = self._write_what_is_in_memory(trainer)
            muon = self.config.optimization.optimizer == "muon"
            rates = "--optimization.learning_rate" + " or --optimization.muon_learning_rate" * muon
            raise Diverged(f"{error}; {problem or self._saved()}. Try a lower {rates}.") from None


def weights_only_checkpoint(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
    """Return a Lightning checkpoint of the weights on the CPU, or of their average if there is one.

    `ImageClassifier.load_from_checkpoint` reads it.
    """
    averages = averages_of(trainer)
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


def averages_of(trainer: L.Trainer) -> list[AveragedWeights]:
    """Return the moving average of the weights, if the run has one."""
    return [callback.averaged for callback in callbacks_of(trainer) if isinstance(callback, WeightAveraging)]


def random_state() -> dict[str, Any]:
    """Return the state of torch's generators, uint8 tensors: those of the CPU and of the GPU of this process, and MPS.

    The data pipeline does not use them.
    """
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    mps = {"mps": torch.mps.get_rng_state()} if torch.backends.mps.is_available() else {}
    return {"cpu": torch.get_rng_state(), "cuda": cuda, **mps}


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators of this process to those of rank 0, which has saved them.

    All processes begin with the same seed and draw as often. Rank 0 never draws from the generators of other GPUs,
    which earlier versions saved behind its own.
    """
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _maximum(trainer: L.Trainer, values: Tensor) -> Tensor:
    """Return the elementwise maximum over all processes."""
    if trainer.world_size == 1:
        return values
    largest: Tensor = trainer.strategy.reduce(values.to(trainer.strategy.root_device, copy=True), reduce_op="max")
    return largest
