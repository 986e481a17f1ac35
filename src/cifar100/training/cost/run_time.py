"""The length of a run and its time, from the time of its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cifar100.config import TrainingConfig
from cifar100.training.cost.step_timer import part_ends
from cifar100.training.optimization.clock import steps_of


@dataclass(frozen=True)
class Parts:
    """What the whole run consists of."""

    steps: int
    """Optimizer steps."""

    epochs: float
    training_seconds: float
    validations: int
    validation_seconds: float


def plan(
    training: TrainingConfig, *, steps_per_epoch: int, seconds_per_step: Sequence[float], validation_seconds: float
) -> Parts:
    """Return the length and the time of a run that ends by epochs, by minutes or with the first of the two.

    Args:
        training: length, validations and resolutions.
        steps_per_epoch: optimizer steps.
        seconds_per_step: in each part of the run, see `step_timer.part_ends`.
        validation_seconds: of one validation.
    """
    plans = []
    starts = (0.0, *part_ends(training)[:-1])
    fractions = [end - start for start, end in zip(starts, part_ends(training), strict=True)]
    shares = list(zip(fractions, seconds_per_step, strict=True))
    if training.max_epochs is not None:
        steps = steps_of(training.max_epochs, steps_per_epoch)
        plans.append((steps, sum(fraction * steps * seconds for fraction, seconds in shares)))
    if training.max_minutes is not None:
        # Progress is a fraction of the time, in which the run is validated as well.
        per_step = validation_seconds / (steps_per_epoch * training.validate_every)
        minutes = 60 * training.max_minutes
        by_time = [(fraction * minutes / (seconds + per_step), seconds) for fraction, seconds in shares]
        plans.append((max(1, round(sum(count for count, _ in by_time))), sum(count * each for count, each in by_time)))
    steps, seconds = min(plans)
    epochs = steps / steps_per_epoch
    validations = math.ceil(math.ceil(epochs) / training.validate_every) if validation_seconds else 0
    return Parts(steps, epochs, seconds, validations, validations * validation_seconds)
