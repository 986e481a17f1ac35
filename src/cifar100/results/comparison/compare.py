"""Compare trained networks on the same images: which is better, is it more than chance, and where do they disagree?"""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cifar100.config.arguments import check_choice
from cifar100.results.comparison.compared_runs import ComparedRun, read_compared_runs
from cifar100.results.comparison.result import (
    ClassComparison,
    Comparison,
    Group,
    GroupComparison,
    PairComparison,
    RunFigures,
)
from cifar100.results.comparison.statistics import is_more_than_chance, mean_difference, paired_difference, spread
from cifar100.results.comparison.variants import SEED, differing_settings, group_by_settings
from cifar100.runs.folder import RunFolder

CAUTIONS = {
    "test": (
        "These are the test images. If you choose a run by them, its accuracy is too optimistic; to choose, compare "
        "with --split validation."
    ),
    "validation": (
        "The epoch of each run was chosen on these validation images, so the accuracies are slightly too optimistic. "
        "Choose here, then evaluate the chosen run on the test images once."
    ),
}
"""What a comparison on each split must not be used for."""


def compare(runs: Sequence[RunFolder], *, split: Literal["test", "validation"]) -> Comparison:
    """Compare runs by their saved evaluations.

    Args:
        runs: at least two; the first is the reference of the others.
        split: the images: `test`, or the `validation` images that the runs have in common.

    Raises:
        UserError: a run has not been evaluated on these images or is damaged, or the images differ; says what to do.
    """
    check_choice("split", split, ("test", "validation"))
    compared = read_compared_runs(runs, split=split)
    names = _distinct_names(runs)
    members = dict(zip(_letters(), group_by_settings([run.settings for run in compared]), strict=False))
    content = compared[0].saved.content
    return Comparison(
        split=split,
        data=str(content.get("data", "")),
        num_images=content["num_images"],
        images_sha256=content["images_sha256"],
        caution=CAUTIONS[split],
        runs=[
            _figures(compared[position], name=names[position], group=letter)
            for position, letter in sorted((position, letter) for letter in members for position in members[letter])
        ],
        groups=[
            Group(
                name=letter,
                runs=[names[position] for position in positions],
                **asdict(spread(_accuracies(compared, positions))),
            )
            for letter, positions in members.items()
        ],
        differing_settings=_differing_settings(compared, members),
        pairs=_pairs(compared, names),
        group_pairs=_group_pairs(compared, members),
        classes=_classes(compared[0], compared[1]),
    )


def _figures(compared: ComparedRun, *, name: str, group: str) -> RunFigures:
    content = compared.saved.content
    low, high = content["metrics"]["accuracy"]["interval"]
    combined = compared.combined
    checkpoint = content.get("checkpoint")
    return RunFigures(
        name=name,
        path=compared.run.path.as_posix(),
        combined="" if combined is None else combined.label,
        group=group,
        seed=compared.settings[SEED],
        accuracy=float(compared.is_right.mean()),
        interval=(low, high),
        checkpoint=None if checkpoint is None else Path(checkpoint).name,
        epoch=content.get("epoch"),
        averaged=bool(content.get("averaged")),
        training_seconds=compared.seconds,
        num_parameters=content.get("num_parameters"),
    )


def _differing_settings(compared: Sequence[ComparedRun], members: dict[str, list[int]]) -> dict[str, dict[str, Any]]:
    values = differing_settings([compared[positions[0]].settings for positions in members.values()])
    return {name: dict(zip(members, of_groups, strict=True)) for name, of_groups in values.items()}


def _pairs(compared: Sequence[ComparedRun], names: Sequence[str]) -> list[PairComparison]:
    pairs = []
    for run, name in zip(compared[1:], names[1:], strict=True):
        found = paired_difference(compared[0].is_right, run.is_right)
        is_certain = is_more_than_chance(found.p_value, num_comparisons=len(compared) - 1)
        pairs.append(PairComparison(reference=names[0], run=name, is_more_than_chance=is_certain, **asdict(found)))
    return pairs


def _group_pairs(compared: Sequence[ComparedRun], members: dict[str, list[int]]) -> list[GroupComparison]:
    repeated = {letter: _accuracies(compared, positions) for letter, positions in members.items() if len(positions) > 1}
    pairs = []
    for letter in list(repeated)[1:]:
        reference = next(iter(repeated))
        found = mean_difference(repeated[reference], repeated[letter])
        is_certain = is_more_than_chance(found.p_value, num_comparisons=len(repeated) - 1)
        pairs.append(
            GroupComparison(reference=reference, group=letter, is_more_than_chance=is_certain, **asdict(found))
        )
    return pairs


def _classes(reference: ComparedRun, run: ComparedRun) -> list[ClassComparison]:
    class_names, labels = reference.class_names, reference.saved.labels
    images, first, second = (
        np.bincount(chosen, minlength=len(class_names)).tolist()
        for chosen in (labels, labels[reference.is_right], labels[run.is_right])
    )
    found = [
        ClassComparison(name=name, num_images=total, num_reference_right=one, num_run_right=other)
        for name, total, one, other in zip(class_names, images, first, second, strict=True)
        if one != other
    ]
    return sorted(found, key=lambda entry: -abs(entry.num_run_right - entry.num_reference_right) / entry.num_images)


def _accuracies(compared: Sequence[ComparedRun], positions: Sequence[int]) -> list[float]:
    return [float(compared[position].is_right.mean()) for position in positions]


def _distinct_names(runs: Sequence[RunFolder]) -> list[str]:
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else run.path.as_posix() for run, name in zip(runs, names, strict=True)]


def _letters() -> itertools.chain[str]:
    """Yield A, B, ..., Z, A2, B2, ..."""
    rounds = (f"{letter}{number}" for number in itertools.count(2) for letter in string.ascii_uppercase)
    return itertools.chain(string.ascii_uppercase, rounds)
