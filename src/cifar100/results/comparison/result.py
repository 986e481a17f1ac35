"""What a comparison finds. Printed by `cifar100 compare`; its JSON is `dataclasses.asdict` of a `Comparison`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cifar100.results.comparison.statistics import MeanDifference, PairedDifference, Spread


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """The figures of one run. Accuracies are fractions, 0 to 1."""

    name: str
    """The experiment; its path if two runs have the same name."""

    path: str
    combined: str
    """`ensemble of 3` or `average of 3`; empty for a run that was trained."""

    group: str
    seed: int | None
    """None for an ensemble."""

    accuracy: float
    interval: tuple[float, float]
    """95 % confidence interval of the accuracy over the choice of images."""

    checkpoint: str | None
    epoch: int | None
    averaged: bool
    """These three name the weights that were measured; None for an ensemble."""

    training_seconds: float | None
    """Sum of the epochs, of all members; None if it is unknown. It depends on the machine."""

    num_parameters: int | None
    """None if the run was evaluated by a version that did not record it."""


@dataclass(frozen=True, kw_only=True)
class Group(Spread):
    """Runs that differ only in the seed, or a single run."""

    name: str
    """A letter."""

    runs: list[str]


@dataclass(frozen=True, kw_only=True)
class PairComparison(PairedDifference):
    """A run against the first one."""

    reference: str
    run: str
    is_more_than_chance: bool


@dataclass(frozen=True, kw_only=True)
class GroupComparison(MeanDifference):
    """A group of at least two runs against the first such group."""

    reference: str
    group: str
    is_more_than_chance: bool


@dataclass(frozen=True, kw_only=True)
class ClassComparison:
    """How many images of a class two runs recognise."""

    name: str
    num_images: int
    num_reference_right: int
    num_run_right: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several runs on the same images."""

    split: str
    data: str
    num_images: int
    images_sha256: str
    caution: str
    """What the figures must not be used for."""

    runs: list[RunFigures]
    groups: list[Group]
    differing_settings: dict[str, dict[str, Any]]
    """Setting -> group -> value, for the settings in which groups differ."""

    pairs: list[PairComparison]
    """Every run but the first against the first."""

    group_pairs: list[GroupComparison]
    """Every group of at least two runs against the first such group; empty unless there are two."""

    classes: list[ClassComparison]
    """Classes in whose accuracy the first two runs differ, the largest difference first."""
