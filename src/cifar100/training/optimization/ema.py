"""Exponential moving average of the weights (Polyak and Juditsky, 1992; Tarvainen and Valpola, 2017)."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from cifar100.training.optimization.clock import RunClock

AVERAGED = "averaged"
"""Key of the average in a checkpoint: `weights`, name -> tensor, and `steps`, the number of averaged steps."""


class AveragedWeights:
    """The moving average of a network's parameters and batch-norm statistics.

    After each optimizer step: average <- average + (1 - decay) * (weights - average), with the decay
    min(decay, (1 + n) / (10 + n)) after n steps, so that the first weights soon lose their influence. Batch-norm
    counters are not averaged.

    Args:
        network: the network to average; it is not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.steps = 0
        self._names: list[str] = []
        self._current: list[Tensor] = []
        self._average: list[Tensor] = []

    def update(self, decay: float) -> None:
        """Add the present weights to the average, with a decay of 0 to 1. Does not wait for the device."""
        if self.steps == 0:
            self._start()
        decay = min(decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(self._average, self._current, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Swap the weights and their average in place; a second call restores both."""
        for current, average in zip(self._current, self._average, strict=True):
            own = current.clone()
            current.copy_(average)
            average.copy_(own)

    @property
    def tensors(self) -> list[Tensor]:
        """The averages themselves; empty before the first step."""
        return self._average

    def weights(self) -> dict[str, Tensor]:
        """Return a state dict of the network with the averaged weights, as copies on the CPU."""
        state = {**self.network.state_dict(), **dict(zip(self._names, self._average, strict=True))}
        return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return copies on the CPU."""
        return {"weights": self.weights(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state, on the network's device."""
        self._start()
        for name, average in zip(self._names, self._average, strict=True):
            average.copy_(state["weights"][name])
        self.steps = state["steps"]

    def _start(self) -> None:
        """Look up the tensors once: the network is on its device by now, and training changes them in place."""
        floating = {name: value for name, value in self.network.state_dict().items() if value.is_floating_point()}
        self._names, self._current = list(floating), [value.detach() for value in floating.values()]
        self._average = [value.clone() for value in self._current]


class WeightAveraging(Callback):
    """Averages the weights after every step, validates the average and saves it.

    Lightning's `WeightAveraging` replaces the trained weights in a checkpoint by the average. Here the trained weights
    stay in place for a resumed run.

    Args:
        averaged: the average of the trained network.
        clock: of the run.
        decay: decay when the averaging starts, 0 to 1.
        final_decay: decay at the end of the run; None: the same. In between, 1 - decay falls exponentially with the
            progress, so the average spans more and more steps.
        start: progress, 0 to 1, at which the averaging starts.
    """

    def __init__(
        self,
        averaged: AveragedWeights,
        clock: RunClock,
        *,
        decay: float,
        final_decay: float | None = None,
        start: float = 0.0,
    ) -> None:
        self.averaged = averaged
        self.clock = clock
        self.decay = decay
        self.final_decay = decay if final_decay is None else final_decay
        self.start = start
        self._restored: dict[str, Any] = {}

    def decay_at(self, progress: float) -> float:
        """Return the decay at a progress between `start` and 1."""
        position = (progress - self.start) / (1 - self.start)
        first, last = 1 - self.decay, 1 - self.final_decay
        return 1 - first * math.pow(last / first, position)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the average from a checkpoint; the network is on its device by now."""
        if self._restored:
            self.averaged.load_state_dict(self._restored)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the new weights to the average."""
        if self.clock.progress >= self.start:
            self.averaged.update(self.decay_at(self.clock.progress))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the averaged weights in place for validation."""
        if self.averaged.steps:
            self.averaged.swap()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the trained weights back."""
        if self.averaged.steps:
            self.averaged.swap()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average beside the trained weights."""
        if self.averaged.steps:
            checkpoint[AVERAGED] = self.averaged.state_dict()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the average until the training starts."""
        self._restored = checkpoint.get(AVERAGED, {})
