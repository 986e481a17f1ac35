"""The learning rate and the momentum as functions of the progress of a run.

Progress runs from 0, the first optimizer step, to 1, the last. A schedule depends on nothing else, so a run whose
length changes (resumed with more epochs, or ended by the clock) still rises, falls and ends as configured.
"""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cifar100.config import OptimizationConfig
from cifar100.training.optimization.clock import RunClock

MAX_MOMENTUM, MIN_MOMENTUM = 0.95, 0.85
"""Ends of the momentum cycle; the values of Smith (2018, arXiv:1803.09820) and of torch's `OneCycleLR`."""


def learning_rate_factor(config: OptimizationConfig, progress: float, *, peak: float | None = None) -> float:
    """Return the learning rate at `progress` as a fraction of the maximum.

    progress: 0 to 1; beyond 1 is the same as 1.
    peak: progress of the maximum; None: `pct_start`. `peak_progress` computes it from a number of steps.
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
    start, end = (MAX_MOMENTUM, MIN_MOMENTUM) if rising else (MIN_MOMENTUM, MAX_MOMENTUM)
    return _cosine(start, end, position)


def peak_progress(config: OptimizationConfig, total_steps: int) -> float:
    """Return the progress at which a run of `total_steps` steps has its maximum learning rate.

    As in torch's `OneCycleLR`, that is step `pct_start * total_steps - 1`, counted from 0; with many steps this tends
    to progress `pct_start`. If it lies before the first step, `one_cycle` keeps torch's values and starts on the way
    down; the others start at the maximum. A run of one step takes it at the maximum.
    """
    if total_steps <= 1:
        return 0.0
    peak = (config.pct_start * total_steps - 1) / (total_steps - 1)
    return peak if config.schedule == "one_cycle" else max(peak, 0.0)


def build_scheduler(optimizer: Optimizer, config: OptimizationConfig, clock: RunClock) -> LambdaLR:
    """Return the scheduler of a run, to be stepped after every optimizer step.

    The present learning rates of the parameter groups become the maxima of their schedules. The length of the run is
    not in the state, so a resumed run may have another length.
    """
    peak = _peak(config, clock)
    return LambdaLR(optimizer, lambda step: learning_rate_factor(config, clock.progress_at(step), peak=peak))


def set_learning_rates(scheduler: LambdaLR) -> None:
    """Set the learning rates of the present step: the length of the run may have changed since the state was saved."""
    rates = zip(scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    for group, base, factor in rates:
        group["lr"] = base * factor(scheduler.last_epoch)


def set_momentum(optimizer: Optimizer, config: OptimizationConfig, clock: RunClock) -> None:
    """Set the momentum of the next optimizer step in every parameter group: `momentum`, or the first of `betas`."""
    momentum = momentum_at(config, clock.progress, peak=_peak(config, clock))
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


def _peak(config: OptimizationConfig, clock: RunClock) -> float:
    if clock.total_steps is None or clock.max_seconds is not None:
        return config.pct_start
    return peak_progress(config, clock.total_steps)


def _phase(progress: float, peak: float) -> tuple[bool, float]:
    """Return whether the learning rate rises at `progress`, and the position in the rise or fall, 0 to 1."""
    progress = min(progress, 1.0)
    if progress < peak:
        return True, progress / peak
    if peak >= 1:
        return False, 0.0
    return False, (progress - peak) / (1 - peak)


def _cosine(start: float, end: float, position: float) -> float:
    """Interpolate along half a cosine: flat at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2
