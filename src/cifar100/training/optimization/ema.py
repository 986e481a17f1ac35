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
"""Key of the averaged weights in a checkpoint: `weights`, name -> tensor, and `steps`, how many were averaged."""


class AveragedWeights:
    """The moving average of a network's parameters and batch-norm statistics.

    After each optimizer step: average <- average + (1 - decay) * (weights - average), with the decay
    min(decay, (1 + n) / (10 + n)) after n steps, so that the first weights are soon forgotten. Batch-norm counters are
    not averaged.

    Args:
        network: its weights are averaged, and left unchanged.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.steps = 0
        self._names: list[str] = []
        self._current: list[Tensor] = []
        self._average: list[Tensor] = []

    def update(self, decay: float) -> None:
        """Average in the network's present weights, with a decay of 0 to 1. Does not wait for the device."""
        if self.steps == 0:
            self._start()
        decay = min(decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(self._average, self._current, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the network's weights and the averaged ones, in place; a second call restores both."""
        for current, average in zip(self._current, self._average, strict=True):
            own = current.clone()
            current.copy_(average)
            average.copy_(own)

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
        """Look up the network's tensors once: it is on its device by now, and trained in place."""
        floating = {name: value for name, value in self.network.state_dict().items() if value.is_floating_point()}
        self._names, self._current = list(floating), [value.detach() for value in floating.values()]
        self._average = [value.clone() for value in self._current]


class WeightAveraging(Callback):
    """Averages the weights after every step, validates with the average and saves it.

    Lightning's own `WeightAveraging` puts the averaged weights in the place of the trained ones in a checkpoint. Here
    those that a resumed run needs stay where they are.

    Args:
        averaged: the average of the network that is trained.
        clock: of the run.
        decay: 0 to 1, at the start of the averaging.
        final_decay: at the end of the run; None means the same. In between, 1 - decay falls by the same factor in equal
            parts of the run, so that the average reaches back further and further.
        start: progress, 0 to 1, from which to average.
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
        """Restore what a checkpoint holds; the network is on its device by now."""
        if self._restored:
            self.averaged.load_state_dict(self._restored)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average in the new weights."""
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
        """Keep the average until training begins."""
        self._restored = checkpoint.get(AVERAGED, {})
