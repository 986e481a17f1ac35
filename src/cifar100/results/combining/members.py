"""The runs that are combined: what they must have in common, and how good each is on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import read_info
from cifar100.data.folder.splits import load_split
from cifar100.data.packed_arrays import content_sha256
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.models import NetworkSource
from cifar100.results.comparison.compared_runs import training_seconds
from cifar100.results.comparison.result import PairComparison
from cifar100.results.comparison.statistics import is_more_than_chance, paired_difference
from cifar100.results.evaluate import evaluate
from cifar100.results.evaluation_data import images_of, recorded_training
from cifar100.results.saved_evaluation import SavedEvaluation, load_evaluation
from cifar100.runs.checkpoints import find_checkpoint, weights_of
from cifar100.runs.combined import Member, distinct_names
from cifar100.runs.folder import RunFolder
from cifar100.terminal import say, warn

Split = Literal["test", "validation"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Weights to combine with others."""

    run: RunFolder
    checkpoint: str | PathLike[str] = "best"
    """`best`, `last` or a path."""

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            UserError: there is none that is intact.
        """
        return find_checkpoint(self.run, self.checkpoint, tell=warn)

    def member(self) -> Member:
        """Return what is recorded of it."""
        weights = weights_of(self.path)
        return Member(
            name=self.run.name,
            path=self.run.path.as_posix(),
            checkpoint=weights.checkpoint,
            epoch=weights.epoch,
            averaged=weights.averaged,
            training_seconds=training_seconds(self.run),
        )


def check_distinct(sources: Sequence[Source], *, doing: str) -> None:
    """Refuse less than two members, and one that is given twice.

    Raises:
        UserError: says what to give.
    """
    if len(sources) < 2:
        given = f"only {sources[0].run.argument} is given" if sources else "no run is given"
        raise UserError(f"{given}, but {doing} needs at least two runs; add others.")
    seen: set[Path] = set()
    for source in sources:
        path = source.path.resolve()
        if path in seen:
            raise UserError(f"{path.name} of {source.run.argument} is given twice; pass different runs.")
        seen.add(path)


def check_same_classes(runs: Sequence[RunFolder]) -> None:
    """Refuse runs of different classes: their outputs mean different things.

    Raises:
        UserError: names the first difference.
    """
    first, *others = runs
    names = read_info(first.dataset_info).class_names
    for other in others:
        theirs = read_info(other.dataset_info).class_names
        if theirs == names:
            continue
        if len(theirs) != len(names):
            difference = f"{len(names):,} and {len(theirs):,} classes"
        else:
            label = next(label for label in range(len(names)) if names[label] != theirs[label])
            difference = f"class {label} is {printable(names[label])!r} and {printable(theirs[label])!r}"
        raise UserError(
            f"{first.argument} and {other.argument} were trained on different classes ({difference}); combine runs of "
            "the same classes in the same order."
        )


def check_same_images(runs: Sequence[RunFolder], split: Literal["test", "validation", "train"]) -> None:
    """Refuse runs whose data have different images in a split.

    Raises:
        UserError: names the first two runs that differ.
    """
    first, *others = runs
    for other in others:
        one, two = read_info(first.dataset_info), read_info(other.dataset_info)
        part = "test" if split == "test" else "train"
        if one.sha256.get(part) != two.sha256.get(part):
            noun = "test" if part == "test" else "training"
            raise UserError(
                f"{first.argument} and {other.argument} were trained on data with different {noun} images or labels "
                f"({one.describe()}; {two.describe()}); combine runs of the same data."
            )
        if split == "validation" and not np.array_equal(_validation(first), _validation(other)):
            raise UserError(
                f"{first.argument} and {other.argument} have different validation images, so each was trained on "
                "some of the other's; combine runs with the same data.validation_fraction and data.split_seed, or "
                "measure an ensemble on the test images."
            )


def _validation(run: RunFolder) -> NDArray[np.int64]:
    return load_split(run.split).validation


def measured(
    source: Source, *, split: Split, network: NetworkSource | None = None, data_root: Path | None = None
) -> SavedEvaluation:
    """Return the saved evaluation of a member's weights; measure them if there is none of these weights and images.

    Raises:
        UserError: as `evaluate`.
    """
    expected = _images_sha256(source, split, data_root)
    saved = _saved(source, split)
    if saved is not None and expected in (None, saved.content["images_sha256"]):
        return saved
    say(f"measuring {source.path.name} of {source.run.argument} on the {split} images")
    evaluate(source.run, split=split, checkpoint=source.path, network=network, data_root=data_root)
    saved = _saved(source, split)
    if saved is None:
        raise UserError(
            f"the evaluation of {source.run.argument} could not be saved in {source.run.path}, which is needed; "
            "free some space there or make the folder writable."
        )
    return saved


def _saved(source: Source, split: Split) -> SavedEvaluation | None:
    """Return the saved evaluation if it is of these weights."""
    try:
        saved = load_evaluation(source.run, split)
    except UserError:  # a damaged file is replaced
        return None
    return saved if saved is not None and weights_of(source.path).are_those_of(saved.content) else None


def _images_sha256(source: Source, split: Split, data_root: Path | None) -> str | None:
    """Return the identity of the images to measure on; None if any that were measured will do."""
    if data_root is None:
        return read_info(source.run.dataset_info).sha256.get("test") if split == "test" else None
    training = recorded_training(source.run)
    images, labels, data = images_of(training, source.run, split=split, data_root=data_root)
    return content_sha256(images, labels, data)


def against_members(
    predicted: NDArray[np.int64], members: Sequence[Member], evaluations: Sequence[SavedEvaluation], *, name: str
) -> list[PairComparison]:
    """Compare what was combined with each member, image by image.

    Args:
        predicted: of what was combined, int64 (N,).
        members: the members.
        evaluations: theirs, on the same images.
        name: of what was combined.
    """
    pairs = []
    for member_name, saved in zip(distinct_names(members), evaluations, strict=True):
        found = paired_difference(saved.predicted == saved.labels, predicted == saved.labels)
        pairs.append(
            PairComparison(
                reference=member_name,
                run=name,
                is_more_than_chance=is_more_than_chance(found.p_value, num_comparisons=len(members)),
                **vars(found),
            )
        )
    return pairs
