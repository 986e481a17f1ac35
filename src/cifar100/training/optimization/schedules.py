"""The learning rate and the momentum as functions of the progress of a run.

Progress runs from 0, the first optimizer step, to 1, the last. A schedule knows nothing else, so that a run whose
length changes (resumed with more epochs, or ended by the clock) still rises, falls and ends as configured.
"""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cifar100.config import OptimizationConfig
from cifar100.training.optimization.clock import RunClock

HIGHEST_MOMENTUM, LOWEST_MOMENTUM = 0.95, 0.85
"""Ends of the momentum cycle; the values of Smith (2018, arXiv:1803.09820) and of torch's `OneCycleLR`."""


def learning_rate_factor(config: OptimizationConfig, progress: float, *, peak: float | None = None) -> float:
    """Return the learning rate at `progress` as a share of the highest.

    progress: 0 to 1; beyond 1 is the same as 1.
    peak: progress at which the highest is reached; None is `pct_start`. `peak_progress` gives it for a number of steps.
    """
    if config.schedule == "constant":
        return 1.0
    first = 1 / config.div_factor
    last = first / config.final_div_factor
    rising, position = _phase(progress, config.pct_start if peak is None else peak)
    start, end = (first, 1.0) if rising else (1.0, last)
    if config.schedule == "one_cycle" or (config.schedule == "cosine" and not rising):
        return _cosine(start, end, position)
    return start + (end - start) * position


def momentum_at(config: OptimizationConfig, progress: float, *, peak: float | None = None) -> float:
    """Return the momentum at `progress`; the arguments are those of `learning_rate_factor`."""
    if not (config.schedule == "one_cycle" and config.cycle_momentum):
        return config.momentum
    rising, position = _phase(progress, config.pct_start if peak is None else peak)
    start, end = (HIGHEST_MOMENTUM, LOWEST_MOMENTUM) if rising else (LOWEST_MOMENTUM, HIGHEST_MOMENTUM)
    return _cosine(start, end, position)


def peak_progress(config: OptimizationConfig, total_steps: int) -> float:
    """Return the progress at which a run of `total_steps` steps has its highest learning rate.

    As in torch's `OneCycleLR` that is step `pct_start * total_steps - 1`, counted from 0, which tends to progress
    `pct_start` as the steps become many. Where this lies before the first step, `one_cycle` keeps torch's values and so
    starts on the way down; the others start at the highest. The only step of a run of one is taken at the highest.
    """
    if total_steps <= 1:
        return 0.0
    peak = (config.pct_start * total_steps - 1) / (total_steps - 1)
    return peak if config.schedule == "one_cycle" else max(peak, 0.0)


def build_scheduler(optimizer: Optimizer, config: OptimizationConfig, clock: RunClock) -> ProgressScheduler:
    """Build the scheduler of a run, to be stepped after every optimizer step.

    The learning rates that the parameter groups of `optimizer` have now are the highest of their schedules.
    """
    return ProgressScheduler(optimizer, config, clock)


class ProgressScheduler(LRScheduler):
    """Sets the learning rate, and with `cycle_momentum` the momentum, of every parameter group after every step.

    It also moves the run's clock. The state is the number of steps taken, the time they took and the highest learning
    rates; the length of the run is not part of it, so a run that is resumed with another length goes on at the right
    place of the longer or shorter schedule.
    """

    def __init__(self, optimizer: Optimizer, config: OptimizationConfig, clock: RunClock) -> None:
        self.config = config
        self.clock = clock
        by_steps = clock.max_seconds is None
        self.peak = peak_progress(config, clock.total_steps) if by_steps else config.pct_start
        super().__init__(optimizer)
        self._skip_torchs_check_of_call_order()

    def get_lr(self) -> list[Any]:
        """Return the learning rate of each parameter group for the next optimizer step."""
        factor = learning_rate_factor(self.config, self.clock.progress_at(self.last_epoch), peak=self.peak)
        return [highest * factor for highest in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        """Move on by one optimizer step. `epoch` is torch's deprecated argument."""
        super().step(epoch)
        self.clock.steps = self.last_epoch
        self._set_momentum()

    def state_dict(self) -> dict[str, Any]:
        """Return the state as numbers and lists of numbers."""
        highest = [float(rate) for rate in self.base_lrs]
        return {"last_epoch": self.last_epoch, "base_lrs": highest, "seconds": self.clock.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the step in `state_dict` and set the learning rates and momenta that belong there."""
        self.base_lrs = list(state_dict["base_lrs"])
        self.last_epoch = state_dict["last_epoch"] - 1
        self.clock.resume(steps=state_dict["last_epoch"], seconds=state_dict["seconds"])
        self.step()

    def _skip_torchs_check_of_call_order(self) -> None:
        # torch warns at the second call if the optimizer has not stepped yet. With 16-bit gradients that is normal: the
        # gradient scaler skips steps until it has found its scale.
        self._step_count = 2

    def _set_momentum(self) -> None:
        if not self.config.cycle_momentum:
            return
        momentum = momentum_at(self.config, self.clock.progress, peak=self.peak)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


def _phase(progress: float, peak: float) -> tuple[bool, float]:
    """Return whether the learning rate rises at `progress`, and how far it is through the rise or the fall, 0 to 1."""
    progress = min(progress, 1.0)
    if progress < peak:
        return True, progress / peak
    if peak >= 1:
        return False, 0.0
    return False, (progress - peak) / (1 - peak)


def _cosine(start: float, end: float, position: float) -> float:
    """Interpolate along half a cosine: flat at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2
