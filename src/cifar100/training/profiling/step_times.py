"""Divide the time of training steps among data, forward pass, backward pass, optimizer and the code around them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler

from cifar100.devices import wait_for

DATA, FORWARD, BACKWARD, OPTIMIZER = "data", "forward pass", "backward pass", "optimizer"
OURS, LIGHTNING = "callbacks, schedule", "Lightning"

PHASES = {
    "train_dataloader_next": DATA,
    "batch_to_device": DATA,
    "transfer_batch_to_device": DATA,
    "on_before_batch_transfer": DATA,
    "on_after_batch_transfer": DATA,
    "training_step": FORWARD,
    "backward": BACKWARD,
    "optimizer_step": OPTIMIZER,
    "optimizer_zero_grad": OPTIMIZER,
}
"""Last word of the name that Lightning gives an action -> phase. The gradients of several processes are exchanged in
the backward pass; loss and metrics belong to the forward pass. Other hooks of our module and callbacks are `OURS`."""

NEXT_STEP, EPOCH = "train_dataloader_next", "run_training_epoch"


@dataclass
class _Action:
    phase: str
    started: float
    inside: float = 0.0
    """Seconds of the actions inside."""


class StepTimes(Profiler):
    """Receives from Lightning the beginning and the end of every action; sums the time of each phase.

    A step lasts from one request for a batch to the next. The last step of an epoch, which validation follows, is left
    out. The device is waited for at every boundary, so that its work counts in its phase.

    Args:
        first_step: number of the first step that counts, from 0.
        num_steps: maximum number of steps.
    """

    def __init__(self, *, first_step: int, num_steps: int) -> None:
        super().__init__()
        self.first_step = first_step
        self.num_steps = num_steps
        self.device = torch.device("cpu")
        """Where the run is trained; set before the first step."""
        self.steps = 0
        """Steps that were counted."""
        self.seconds = dict.fromkeys((DATA, FORWARD, BACKWARD, OPTIMIZER, OURS, LIGHTNING), 0.0)
        """Phase -> seconds of all steps that were counted."""
        self.batches: Counter[tuple[int, ...]] = Counter()
        """Shape of a batch in this process, (N, C, H, W), or (N, D) of features -> the counted steps that had it."""
        self.shape: tuple[int, ...] = ()
        """That of the current step; `ShapeOfBatches` sets it."""
        self._seen = -1
        self._current: dict[str, float] | None = None
        self._began = 0.0
        self._stack: list[_Action] = []

    def start(self, action_name: str) -> None:
        """Begin an action, and perhaps a step."""
        name = action_name.rpartition(".")[2]
        if name == NEXT_STEP:
            self._end_step()
            self._seen += 1
            if self.first_step <= self._seen and self.steps < self.num_steps:
                self._current, self._began = dict.fromkeys(self.seconds, 0.0), self._now()
        elif name == EPOCH:
            self._current = None
        if self._current is not None:
            self._stack.append(_Action(_phase(action_name), self._now()))

    def stop(self, action_name: str) -> None:
        """End an action. Its time without that of the actions inside belongs to its phase."""
        if action_name == EPOCH:
            self._current = None
        if self._current is None:
            self._stack.clear()
            return
        if self._stack:  # empty for what began before the step
            action = self._stack.pop()
            elapsed = self._now() - action.started
            self._current[action.phase] += elapsed - action.inside
            if self._stack:
                self._stack[-1].inside += elapsed

    def leave_epoch(self) -> None:
        """Drop the last step of an epoch."""
        self._current = None
        self._stack.clear()

    def _end_step(self) -> None:
        if self._current is None:
            return
        self._current[LIGHTNING] += self._now() - self._began - sum(self._current.values())
        for phase, seconds in self._current.items():
            self.seconds[phase] += seconds
        self.steps += 1
        self.batches[self.shape] += 1
        self.leave_epoch()

    def _now(self) -> float:
        wait_for(self.device)
        return time.perf_counter()


class ShapeOfBatches(Callback):
    """Tells `StepTimes` the shape of each training batch, which changes with progressive resizing."""

    def __init__(self, times: StepTimes) -> None:
        self.times = times

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the shape of the current step."""
        self.times.shape = tuple(batch[0].shape)


def _phase(action: str) -> str:
    """Return the phase of an action, such as `[Strategy]SingleDeviceStrategy.backward`."""
    kind, _, name = action.partition("]")
    phase = PHASES.get(name.rpartition(".")[2])
    if phase is not None and kind != "[Callback":
        return phase
    return OURS if kind in ("[Callback", "[LightningModule", "[LightningDataModule") else LIGHTNING
