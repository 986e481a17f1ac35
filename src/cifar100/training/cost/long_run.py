"""Say how long the recipe `original`, the default, will take on a CPU before it begins."""

from __future__ import annotations

import time

import torch

from cifar100.devices import choose_accelerator
from cifar100.process.processors import usable_processors
from cifar100.settings import DEFAULT_RECIPE
from cifar100.terminal import say, temporary_line
from cifar100.training.cost.run_time import plan
from cifar100.training.cost.step_timer import part_ends
from cifar100.training.cost.trial import Subject, Trial

WORTH_SAYING_MINUTES = 20
"""Shorter runs begin silently: `laptop` takes ten minutes."""

STEPS = 3
MAX_SECONDS = 1.0
"""Steps end after this time, or after `STEPS` of them."""

FORWARD = 1 / 3
"""Fraction of a step's operations in its forward pass, the only one in validation."""


def announce_long_run(subject: Subject) -> None:
    """Print how long the run will take, and which recipe takes ten minutes.

    Silent for other recipes, other devices, runs that end by time, custom parts and short runs.
    """
    config = subject.config
    if (
        config.recipe != DEFAULT_RECIPE
        or config.training.max_minutes is not None
        or subject.parts.are_given()
        or choose_accelerator(config.training.accelerator) != "cpu"
    ):
        return
    with temporary_line("measuring a few steps ..."):
        minutes = estimated_seconds(subject) / 60
    if minutes >= WORTH_SAYING_MINUTES:
        say(
            f"{config.recipe} will take about {_duration(minutes)} on this CPU (estimated from its first steps); for a "
            "run of ten minutes: cifar100 train --recipe laptop"
        )


def estimated_seconds(subject: Subject) -> float:
    """Return the time of a run on a CPU from at most `STEPS` steps in this process, within about two seconds.

    The workers of the `images` pipeline share the processors with the training, so a step takes the time of the network
    plus that of its images divided by the processors. Starting and saving are not counted.
    """
    config, split = subject.config, subject.split
    assert split is not None, "there are no custom parts"
    trial = Trial(subject, device=torch.device("cpu"))
    started = time.monotonic()
    taken = [trial.step()]  # the first warms up; it counts if it takes too long to take another
    while len(taken) <= STEPS and time.monotonic() - started < MAX_SECONDS:
        taken.append(trial.step())
    measured = taken[1:] or taken
    compute = sum(step.compute for step in measured) / len(measured)
    batch = sum(step.batch for step in measured) / len(measured)
    if config.data.pipeline == "images":
        batch /= usable_processors()
    training, images = config.training, config.data.images_per_step
    steps = max(1, len(split.train) // (images * training.num_processes))
    if training.limit_train_batches is not None:
        steps = min(steps, training.limit_train_batches)
    validation = len(split.validation) / (images * training.num_processes) * (FORWARD * compute + batch)
    seconds = [compute + batch] * len(part_ends(training))
    parts = plan(training, steps_per_epoch=steps, seconds_per_step=seconds, validation_seconds=validation)
    return parts.training_seconds + parts.validation_seconds


def _duration(minutes: float) -> str:
    """Return a rounded time in words: 35 minutes, 1.5 hours."""
    if minutes < 90:
        return f"{5 * round(minutes / 5)} minutes"
    return f"{minutes / 60:.1f} hours"
