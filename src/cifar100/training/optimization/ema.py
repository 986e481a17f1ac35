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
    min(decay, (1 + n) / (10 + n)) after n steps, so that the first weights are soon forgotten. Counters are copied.

    Args:
        network: whose weights are averaged; its own are left as they are.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.steps = 0
        self.weights: dict[str, Tensor] = {}

    def update(self, decay: float) -> None:
        """Take in the network's present weights, with a decay of 0 to 1. Does not wait for the device."""
        current = self.network.state_dict()
        if self.steps == 0:
            self.weights = {name: value.detach().clone() for name, value in current.items()}
        decay = min(decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        floating = [name for name, value in current.items() if value.is_floating_point()]
        averages = [self.weights[name] for name in floating]
        torch._foreach_lerp_(averages, [current[name] for name in floating], 1 - decay)
        for name in current.keys() - set(floating):
            self.weights[name].copy_(current[name])

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the network's weights and the averaged ones, in place; a second time restores both."""
        for name, value in self.network.state_dict().items():
            own = value.clone()
            value.copy_(self.weights[name])
            self.weights[name].copy_(own)

    def state_dict(self) -> dict[str, Any]:
        """Return copies in the processor's memory."""
        weights = {name: value.detach().to("cpu", copy=True) for name, value in self.weights.items()}
        return {"weights": weights, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an earlier part of the run, on the network's device."""
        own = self.network.state_dict()
        self.weights = {name: torch.empty_like(own[name]).copy_(value) for name, value in state["weights"].items()}
        self.steps = state["steps"]


class WeightAveraging(Callback):
    """Averages the weights after every step, validates with the average and saves it.

    Lightning's own `WeightAveraging` keeps the averaged weights in the place of the trained ones in a checkpoint; here
    those that a resumed run needs stay where they are.

    Args:
        averaged: of the network that is trained.
        clock: of the run.
        decay: 0 to 1, at the start of the averaging.
        final_decay: at the end of the run; None is the same. In between, 1 - decay falls by the same factor in equal
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
        """Go on with what a checkpoint holds; the network is on its device by now."""
        if self._restored:
            self.averaged.load_state_dict(self._restored)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the new weights."""
        if self.clock.progress >= self.start:
            self.averaged.update(self.decay_at(self.clock.progress))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate with the average."""
        if self.averaged.steps:
            self.averaged.swap()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Train on with the trained weights."""
        if self.averaged.steps:
            self.averaged.swap()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average beside the trained weights."""
        if self.averaged.steps:
            checkpoint[AVERAGED] = self.averaged.state_dict()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep it until the training begins."""
        self._restored = checkpoint.get(AVERAGED, {})
