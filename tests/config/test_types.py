"""Ranges and prerequisites."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cifar100.config.types import Needs, NeedsAny, Range


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        (Range(0, 1), [0, 0.5, 1, None, "auto", (0.0, 1.0)], [-0.001, 1.001, math.nan, math.inf, (0.5, 2.0)]),
        (Range(0, 1, above=True), [0.001, 1], [0, (0.5, 0.0)]),
        (Range(1), [1, 10**9], [0, math.inf]),
        (Range(16, 64, multiple_of=8), [16, 24, 64], [8, 20, 72, math.inf]),
    ],
)
def test_a_range_holds_every_number_of_a_value(limits: Range, inside: list[Any], outside: list[Any]) -> None:
    assert all(limits.contains(value) for value in inside)
    assert not any(limits.contains(value) for value in outside)


def test_a_range_reads_as_a_phrase() -> None:
    assert str(Range(0, 1)) == "at least 0 and at most 1"
    assert str(Range(16, 64, multiple_of=8)) == "a multiple of 8, at least 16 and at most 64"
    assert str(Range(0, 1, above=True)) == "more than 0 and at most 1"
    assert str(Range(2)) == "at least 2"
    assert str(Range(0, 2**32 - 1)) == "at least 0 and at most 4,294,967,295"
    assert str(Range(0, 1e6)) == "at least 0 and at most 1,000,000"
    assert str(Range(1.0, 1e12)) == "at least 1 and at most 1e12"
    assert str(Range(0.001, 1e38, why="float32")) == "at least 0.001 and at most 1e38 (float32)"


def test_a_truth_value_is_no_number() -> None:
    assert Range(5).contains(True)


def test_a_prerequisite_without_values_is_that_the_setting_is_on() -> None:
    need = Needs("optimization.sam")
    assert [value for value in (None, False, 0, 0.0, "none", "sam", 3, True) if need.is_met({need.setting: value})] == [
        "sam",
        3,
        True,
    ]
    assert str(need) == "--optimization.sam"


def test_a_prerequisite_with_values_is_one_of_them() -> None:
    need = Needs("optimization.optimizer", "sgd", "adamw")
    assert need.is_met({need.setting: "adamw"})
    assert not need.is_met({need.setting: "muon"})
    assert str(need) == "--optimization.optimizer sgd or adamw"
    assert str(Needs("model.cache_features", False)) == "--model.cache_features false"
    assert need == Needs("optimization.optimizer", "sgd", "adamw")
    assert need != Needs("optimization.optimizer", "sgd")
    assert len({need, Needs("optimization.optimizer", "sgd", "adamw")}) == 1


def test_one_of_several_prerequisites_is_enough() -> None:
    need = NeedsAny("augmentation.shift", "augmentation.rotate")
    assert need.is_met({"augmentation.shift": 0.0, "augmentation.rotate": 5.0})
    assert not need.is_met({"augmentation.shift": 0.0, "augmentation.rotate": 0.0})
    assert str(need) == "--augmentation.shift or --augmentation.rotate"
