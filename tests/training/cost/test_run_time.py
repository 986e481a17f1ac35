from __future__ import annotations

from typing import Any

import pytest

from cifar100.config import TrainingConfig
from cifar100.training.cost.run_time import Parts, plan
from cifar100.training.cost.trial import progress_at_largest_images


def planned(seconds: list[float], *, validation: float = 0.0, **settings: Any) -> Parts:
    return plan(
        TrainingConfig(**settings), steps_per_epoch=100, seconds_per_step=seconds, validation_seconds=validation
    )


def test_a_run_of_epochs() -> None:
    parts = planned([0.5], max_epochs=3, validation=10.0)
    assert parts == Parts(steps=300, epochs=3.0, training_seconds=150.0, validations=3, validation_seconds=30.0)
    assert planned([0.5], max_epochs=3, validation=10.0, validate_every=2).validations == 2


def test_each_resolution_has_its_fraction_of_the_steps() -> None:
    sizes = {"resolutions": (16, 32), "resolution_changes": (0.25,)}
    assert planned([0.1, 1.0], max_epochs=1, **sizes).training_seconds == pytest.approx(25 * 0.1 + 75 * 1.0)


def test_each_resolution_has_its_fraction_of_the_time() -> None:
    sizes = {"resolutions": (16, 32), "resolution_changes": (0.5,)}
    parts = planned([0.1, 1.0], max_minutes=10, **sizes)
    assert parts.steps == 3000 + 300
    assert parts.training_seconds == pytest.approx(600)


def test_validation_takes_its_part_of_the_time() -> None:
    parts = planned([0.5], max_minutes=10, validation=50.0)  # an epoch of 50 s, and as much to validate
    assert (parts.steps, parts.validations) == (600, 6)
    assert parts.training_seconds + parts.validation_seconds == pytest.approx(600)


def test_with_both_lengths_the_first_counts() -> None:
    assert planned([0.5], max_minutes=10, max_epochs=1).steps == 100
    assert planned([0.5], max_minutes=0.1, max_epochs=1).steps == 12


def test_the_largest_images_are_found() -> None:
    sizes = TrainingConfig(resolutions=(32, 16, 24), resolution_changes=(0.3, 0.6))
    assert progress_at_largest_images(sizes) == 0.0
    sizes = TrainingConfig(resolutions=(16, 32), resolution_changes=(0.3,))
    assert progress_at_largest_images(sizes) == 0.3
    assert progress_at_largest_images(TrainingConfig()) == 0.0
