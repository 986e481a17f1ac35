"""Confusion matrices as pictures with data for the hover text, and the most confused pairs of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cifar100.data.dataset_info import DatasetInfo
from cifar100.results.measures import confusion_matrix
from cifar100.results.report.measured import Measured
from cifar100.results.report.rendering.inline import png_uri

NUM_PAIRS = 20
NUM_EXAMPLES = 3
"""Images shown of each direction of a pair."""

MAX_NUMBERS = 30
"""Classes up to which a matrix is a table of numbers; a picture beyond."""

MAX_CLASSES = 1000
"""A larger matrix has less than a pixel for each class."""

RIGHT, WRONG = (42, 120, 214), (224, 98, 32)
"""Red, green and blue of the diagonal and of confusions: blue and orange differ for every reader."""

MIN_OPACITY = 60
"""Of a cell that is not empty, 0 to 255, so that a single image is visible."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A confusion matrix in the order in which it is drawn."""

    names: Sequence[str]
    groups: Sequence[tuple[str, int, int]]
    """Name, start and length of each superclass; empty without superclasses."""

    counts: NDArray[np.int64]
    """Images of each label (row) and prediction (column), int64 (C, C)."""

    @property
    def has_numbers(self) -> bool:
        """Whether it is small enough for a table of numbers."""
        return len(self.names) <= MAX_NUMBERS

    @property
    def is_drawn(self) -> bool:
        """Whether it is small enough for a picture."""
        return len(self.names) <= MAX_CLASSES

    def fractions(self) -> NDArray[np.float64]:
        """Return the fractions of each row, float64 (C, C)."""
        fractions: NDArray[np.float64] = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        return fractions

    def picture(self, *, is_log: bool) -> Markup:
        """Return a data URI with a pixel for each cell, more opaque for more images.

        is_log: on a logarithmic scale, on which confusions are visible beside the diagonal.
        """
        shown = np.log1p(self.counts) if is_log else self.fractions()
        pixels = np.empty((*shown.shape, 4), dtype=np.uint8)
        pixels[..., :3] = WRONG
        diagonal = np.arange(len(shown))
        pixels[diagonal, diagonal, :3] = RIGHT
        opacity = MIN_OPACITY + (255 - MIN_OPACITY) * shown / max(float(shown.max()), 1e-9)
        pixels[..., 3] = np.where(self.counts > 0, opacity.round(), 0)
        return png_uri(pixels)

    def cells(self) -> dict[str, Any]:
        """Return the data of the hover text: names, images of each class, and row, column and count of each cell."""
        rows, columns = np.nonzero(self.counts)
        cells = np.stack([rows, columns, self.counts[rows, columns]], axis=1)
        return {
            "names": list(self.names),
            "totals": self.counts.sum(axis=1).tolist(),
            "cells": cells.ravel().tolist(),
        }

    def boundaries(self) -> list[int]:
        """Return the positions between two superclasses."""
        return [start for _, start, _ in self.groups[1:]]


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Images of one class that were predicted as another."""

    label: str
    prediction: str
    count: int
    fraction: float
    """Of the images of the label."""

    examples: tuple[int, ...]
    """Positions of the most confident ones among the measured images."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two classes that are confused, the more frequent direction first."""

    count: int
    directions: tuple[Direction, Direction]


def class_matrix(measured: Measured) -> Matrix:
    """Return the matrix of the classes, sorted by superclass if there are any, then by label."""
    info = measured.info
    superclasses = np.array(info.class_to_superclass or [0] * info.num_classes)
    order = np.argsort(superclasses, kind="stable")
    return Matrix(
        names=[info.class_names[label] for label in order],
        groups=_groups(info, superclasses[order]) if info.class_to_superclass else (),
        counts=measured.confusion[np.ix_(order, order)],
    )


def superclass_matrix(measured: Measured) -> Matrix | None:
    """Return the matrix of the superclasses; None without superclasses."""
    info = measured.info
    if not info.class_to_superclass:
        return None
    superclass = np.array(info.class_to_superclass)
    labels, predicted = superclass[measured.saved.labels], superclass[measured.saved.predicted]
    counts = confusion_matrix(labels, predicted, len(info.superclass_names))
    return Matrix(names=info.superclass_names, groups=(), counts=counts)


def most_confused(measured: Measured) -> list[Pair]:
    """Return the pairs of classes with the most confusions in both directions together, in descending order."""
    confusion = measured.confusion
    both = np.triu(confusion + confusion.T, k=1)
    firsts, seconds = np.nonzero(both)
    chosen = np.argsort(-both[firsts, seconds], kind="stable")[:NUM_PAIRS]
    confidence = measured.confidence()
    pairs = []
    for first, second in zip(firsts[chosen], seconds[chosen], strict=True):
        directions = [
            _direction(measured, confidence, int(one), int(other)) for one, other in ((first, second), (second, first))
        ]
        directions.sort(key=lambda direction: -direction.count)
        pairs.append(Pair(count=int(both[first, second]), directions=(directions[0], directions[1])))
    return pairs


def _direction(measured: Measured, confidence: NDArray[np.float64], label: int, prediction: int) -> Direction:
    found = np.flatnonzero((measured.saved.labels == label) & (measured.saved.predicted == prediction))
    examples = found[np.argsort(-confidence[found], kind="stable")][:NUM_EXAMPLES]
    names = measured.info.class_names
    return Direction(
        label=names[label],
        prediction=names[prediction],
        count=len(found),
        fraction=len(found) / max(int(measured.confusion[label].sum()), 1),
        examples=tuple(examples.tolist()),
    )


def _groups(info: DatasetInfo, superclasses: NDArray[np.int64]) -> list[tuple[str, int, int]]:
    """Return name, start and length of each run of equal superclasses."""
    starts = [0, *(np.flatnonzero(np.diff(superclasses)) + 1).tolist(), len(superclasses)]
    return [(info.superclass_names[superclasses[start]], start, end - start) for start, end in pairwise(starts)]
