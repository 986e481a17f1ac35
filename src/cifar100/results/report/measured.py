"""What was measured on a run: the saved evaluation, in the form in which the page shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cifar100.data.dataset_info import DatasetInfo
from cifar100.errors import UserError
from cifar100.files.schema import boolean, fields, list_of, map_of, nothing_or, number, text, whole
from cifar100.foreign_text import printable, reason
from cifar100.results.calibration import risk_coverage
from cifar100.results.measures import confusion_matrix, precision_recall_f1
from cifar100.results.report.facts import RunFacts
from cifar100.results.saved_evaluation import SavedEvaluation, load_evaluation
from cifar100.runs.checkpoints import weights_of
from cifar100.runs.combined import Member
from cifar100.runs.weights import Weights

NUM_TOP_LOSSES = 40

MAX_NAME = 60
"""Characters of the name of a class that are shown."""

COVERAGES = (0.5, 0.8, 0.9, 1.0)
"""Fractions of the images, the most confident ones, of which the error is given."""


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class in the table of classes."""

    label: int
    name: str
    superclass: str
    precision: float
    recall: float
    f1_score: float
    support: int
    """Number of images."""

    confused_with: str
    """The class as which most of its misclassified images were predicted; empty if there are none."""

    num_confused: int


@dataclass(frozen=True, kw_only=True)
class TopLoss:
    """A misclassified image."""

    index: int
    """Position among the measured images."""

    label: str
    prediction: str
    probability: float
    """Of the prediction."""

    label_probability: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The evaluation of a run on one split."""

    saved: SavedEvaluation
    split: Literal["test", "validation"]
    info: DatasetInfo
    """Of the data that the run was trained on, with names that are short enough to show."""

    @property
    def content(self) -> dict[str, Any]:
        """The figures, as in `evaluation_<split>.json`."""
        return self.saved.content

    @property
    def num_images(self) -> int:
        """Number of measured images."""
        return len(self.saved.labels)

    @property
    def is_of_other_data(self) -> bool:
        """Whether the test images are others than those of the data that the run was trained on."""
        return self.saved.is_of_other_data(self.info)

    @property
    def images(self) -> str:
        """What was measured: `10,000 test images`."""
        noun = f"{self.split} image{'s' * (self.num_images != 1)}"
        return f"{self.num_images:,} {noun}{' of other data' * self.is_of_other_data}"

    def change(self, now: Weights) -> str:
        """Return how the weights have changed since, such as `is from epoch 60 now, but epoch 30 was measured`.

        Empty if they are those that were measured.
        """
        if now.are_those_of(self.content):
            return ""
        then = self.content["epoch"]
        if now.epoch == then:
            return "has changed since it was measured"
        return f"is from epoch {now.epoch} now, but epoch {then} was measured"

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Number of images of each label (row) and prediction (column), int64 (C, C)."""
        return confusion_matrix(self.saved.labels, self.saved.predicted, self.info.num_classes)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each prediction is right, (N,)."""
        correct: NDArray[np.bool_] = self.saved.predicted == self.saved.labels
        return correct

    def probabilities_of(self, classes: NDArray[np.int64], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """Return the probability of one class of each image, float64 (N,). classes: int64 (N,)."""
        logits = torch.from_numpy(self.saved.logits) / temperature
        chosen = logits.gather(1, torch.from_numpy(classes)[:, None])[:, 0]
        probabilities: NDArray[np.float64] = (chosen - logits.logsumexp(dim=1)).double().exp().numpy()
        return probabilities

    def confidence(self, *, temperature: float = 1.0) -> NDArray[np.float64]:
        """Return the probability of each prediction, float64 (N,)."""
        return self.probabilities_of(self.saved.predicted, temperature=temperature)

    def class_rows(self) -> list[ClassRow]:
        """Return the classes that have images, the least recognised first."""
        names, confusion = self.info.class_names, self.confusion
        wrong = confusion.copy()
        np.fill_diagonal(wrong, 0)
        most = wrong.argmax(axis=1)
        rows = [
            ClassRow(
                label=label,
                name=names[label],
                superclass=superclass_of(self.info, label),
                precision=float(precision),
                recall=float(recall),
                f1_score=float(f1_score),
                support=int(confusion[label].sum()),
                confused_with=names[most[label]] if wrong[label].any() else "",
                num_confused=int(wrong[label, most[label]]),
            )
            for label, (precision, recall, f1_score) in enumerate(precision_recall_f1(confusion).T)
        ]
        return sorted((row for row in rows if row.support), key=lambda row: (row.recall, row.f1_score, row.name))

    def top_losses(self) -> list[TopLoss]:
        """Return the misclassified images whose predictions are the most probable, in descending order."""
        confidence = self.confidence()
        label_probabilities = self.probabilities_of(self.saved.labels)
        wrong = np.flatnonzero(~self.correct)
        chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:NUM_TOP_LOSSES]
        names = self.info.class_names
        return [
            TopLoss(
                index=int(index),
                label=names[self.saved.labels[index]],
                prediction=names[self.saved.predicted[index]],
                probability=float(confidence[index]),
                label_probability=float(label_probabilities[index]),
            )
            for index in chosen
        ]

    def errors_by_coverage(self) -> list[tuple[float, float]]:
        """Return coverage and error of the most confident images."""
        coverage, risk = risk_coverage(self.confidence(), self.correct)
        positions = [max(0, round(fraction * len(coverage)) - 1) for fraction in COVERAGES]
        return [(fraction, float(risk[position])) for fraction, position in zip(COVERAGES, positions, strict=True)]


def superclass_of(info: DatasetInfo, label: int) -> str:
    """Return the superclass of a class; empty without superclasses."""
    return info.superclass_names[info.class_to_superclass[label]] if info.class_to_superclass else ""


def read_measured(facts: RunFacts) -> Measured | None:
    """Return the evaluation on the test images; else that on the validation images; None if there is neither.

    Raises:
        UserError: a file is damaged, or of other classes than the run.
    """
    splits: tuple[Literal["test", "validation"], ...] = ("test", "validation")
    for split in splits:
        saved = load_evaluation(facts.run, split)
        if saved is None:
            continue
        again = f"measure again: cifar100 evaluate {facts.run.argument} --split {split}"
        if saved.logits.shape[1] != facts.info.num_classes:
            raise UserError(
                f"{facts.run.logits(split)} has {saved.logits.shape[1]} classes, but the run was trained on "
                f"{facts.info.num_classes:,}; {again}"
            )
        try:
            _SHOWN(saved.content, "it")
        except ValueError as error:
            raise UserError(f"{facts.run.evaluation(split)} cannot be shown ({reason(error)}); {again}") from error
        return Measured(saved=saved, split=split, info=_with_short_names(facts.info))
    return None


def measured_checkpoint(facts: RunFacts, measured: Measured) -> Path:
    """Return the path of the weights that were measured: in the run folder, which may have been moved since."""
    recorded: str = measured.content["checkpoint"]
    here = facts.run.checkpoints / recorded.replace("\\", "/").rpartition("/")[2]
    return here if here.is_file() else Path(recorded)


def with_measured_members(facts: RunFacts, measured: Measured) -> RunFacts:
    """Return the facts of an ensemble with the members that were measured; any others as they are.

    It can have been measured later with other weights of its runs, on other images.
    """
    if facts.combined is None or not facts.is_ensemble:
        return facts
    members = tuple(
        Member(
            name=member["name"],
            path=member["path"],
            checkpoint=member["checkpoint"],
            epoch=member["epoch"],
            averaged=bool(member.get("averaged")),
            training_seconds=None,
        )
        for member in measured.content["members"]
    )
    return replace(facts, combined=replace(facts.combined, members=members))


def outdated(facts: RunFacts, measured: Measured) -> str:
    """Return what a page says of an evaluation of earlier weights, as of a run that was trained longer since.

    Empty if the weights are those that were measured, or cannot be read.
    """
    if facts.is_ensemble:  # it has no weights of its own
        return ""
    checkpoint = measured_checkpoint(facts, measured)
    try:
        change = measured.change(weights_of(checkpoint))
    except UserError:
        return ""
    return f"{checkpoint.name} {change}." if change else ""


_CALIBRATION = fields(
    {name: number() for name in ("temperature", "loss", "brier_score", "ece_equal_width", "ece_equal_mass")}
)

_ESTIMATE = fields({"value": number(), "interval": list_of(number(), length=2), "num_images": whole(1)})

_SHOWN = fields(
    {"averaged": boolean, "data": text, "calibration": _CALIBRATION},
    optional={
        "calibrated": nothing_or(_CALIBRATION),
        "flip_tta": nothing_or(fields({"metrics": map_of(_ESTIMATE)})),
    },
)
"""What the page shows beyond what `load_evaluation` checks."""


def _with_short_names(info: DatasetInfo) -> DatasetInfo:
    class_names, superclass_names = (
        tuple(printable(name, max_length=MAX_NAME) for name in names)
        for names in (info.class_names, info.superclass_names)
    )
    return replace(info, class_names=class_names, superclass_names=superclass_names)
