"""Log the training loss of single steps without waiting for the device."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Protocol, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from cifar100.training.lit_module import ImageClassifier
from cifar100.training.trainer import LOG_EVERY_STEPS, callbacks_of

STEP_LOSS = "train/loss_step"
"""Name of the metric; `train/loss` is the mean over an epoch."""


class Transfer(Protocol):
    """The loss of a step on its way to the host."""

    step: int

    def has_arrived(self) -> bool:
        """Return whether `value` would not wait."""

    def value(self) -> float:
        """Return the loss; wait for it if necessary."""


class StepLosses(Callback):
    """Gives the loggers the loss of every `LOG_EVERY_STEPS`-th step, of the images of rank 0.

    A GPU runs behind the host, and `loss.item()` would hold the host until the GPU has caught up. So the loss is copied
    to the host by the GPU itself, in order with its other operations. Each later step asks whether the copy has
    arrived, which takes microseconds, and logs it under its own step. Saving and the end of the run wait for the
    copies, as they wait for the weights: the loggers then have every loss up to the saved step.
    """

    def __init__(self) -> None:
        self._on_the_way: deque[Transfer] = deque()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Send the loss of this step if it is due, and log what has arrived."""
        if not trainer.is_global_zero:
            return
        if trainer.global_step % LOG_EVERY_STEPS == 0:
            loss = cast(ImageClassifier, pl_module).step_loss
            self._on_the_way.append(start_transfer(loss, step=trainer.global_step - 1))
        while self._on_the_way and self._on_the_way[0].has_arrived():
            self._log(trainer, self._on_the_way.popleft())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the rest."""
        self.complete(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Log the rest, as far as a device that may have failed still gives it."""
        with suppress(RuntimeError):
            self.complete(trainer)

    def complete(self, trainer: L.Trainer) -> None:
        """Log every loss that was sent; waits for the device."""
        while self._on_the_way:
            self._log(trainer, self._on_the_way.popleft())

    def _log(self, trainer: L.Trainer, transfer: Transfer) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({STEP_LOSS: transfer.value()}, step=transfer.step)


def complete_step_losses(trainer: L.Trainer) -> None:
    """Log the losses that are on their way, if the run logs them; waits for the device."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, StepLosses):
            callback.complete(trainer)


def start_transfer(loss: Tensor, *, step: int) -> Transfer:
    """Start to copy a loss, a scalar, to the host."""
    return _FromGPU(loss, step) if loss.device.type == "cuda" else _Direct(loss, step)


class _FromGPU:
    """A copy into pinned memory, with an event of CUDA behind it that tells when it is complete."""

    def __init__(self, loss: Tensor, step: int) -> None:
        self.step = step
        self._copy = loss.to("cpu", non_blocking=True)  # pinned, as torch does for such a copy
        self._copied: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._copied.record()

    def has_arrived(self) -> bool:
        return bool(self._copied.query())

    def value(self) -> float:
        self._copied.synchronize()
        return float(self._copy)


class _Direct:
    """A loss on a CPU, which is there, or on another device, which is waited for in each `LOG_EVERY_STEPS`-th step."""

    def __init__(self, loss: Tensor, step: int) -> None:
        self.step = step
        self._loss = loss

    def has_arrived(self) -> bool:
        return True

    def value(self) -> float:
        return float(self._loss)
