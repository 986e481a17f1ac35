"""Accuracy without the test images that have a near-duplicate among the training images.

Barz and Denzler, "Do we train on test data? Purging CIFAR of near-duplicates", Journal of Imaging, 2020. About 9 % of
CIFAR-100's test images have one. ciFAIR replaces them by new images; here they are left out.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cifar100.data.sources.published_lists import ListFile
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.results.measures import Estimate, fraction

COLUMNS = ("TestID", "TrainID", "Distance", "Judgment")

JUDGMENTS = ("exact", "near", "similar")
"""Name of each value of `Judgment`: the same pixels; one shot, processed differently; two very similar shots."""

NO_DUPLICATE = -1


@dataclass(frozen=True, kw_only=True)
class DuplicateFigures:
    """Top-1 accuracy without and on the test images that have a near-duplicate among the training images."""

    list: str
    """The published list, or the path of a custom one."""

    list_sha256: str

    without_duplicates: Estimate
    """Without the images of every judgment, as in ciFAIR."""

    without_exact_and_near: Estimate
    """Without those that show the same shot; the merely similar ones count."""

    only_duplicates: Estimate
    """On the images of every judgment."""

    by_judgment: dict[str, Estimate]
    """On the images of each judgment: `exact`, `near`, `similar`. A judgment without images is left out."""


def measure_duplicates(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], judgments: NDArray[np.int64], *, source: ListFile
) -> DuplicateFigures:
    """Return the figures.

    Args:
        predicted: predicted labels, int64 (N,).
        labels: int64 (N,).
        judgments: of each image, int64 (N,); see `read_duplicates`.
        source: the list.
    """
    correct = predicted == labels

    def on(selected: NDArray[np.bool_]) -> Estimate:
        return fraction(int(correct[selected].sum()), int(selected.sum()))

    kinds = {name: judgments == value for value, name in enumerate(JUDGMENTS)}
    return DuplicateFigures(
        list=source.title,
        list_sha256=source.sha256,
        without_duplicates=on(judgments == NO_DUPLICATE),
        without_exact_and_near=on((judgments == NO_DUPLICATE) | kinds["similar"]),
        only_duplicates=on(judgments != NO_DUPLICATE),
        by_judgment={name: on(selected) for name, selected in kinds.items() if selected.any()},
    )


def read_duplicates(source: ListFile, *, num_train: int, num_test: int) -> NDArray[np.int64]:
    """Return the judgment of each test image, int64 (num_test,): 0 exact, 1 near, 2 similar, or `NO_DUPLICATE`.

    Raises:
        UserError: the list is damaged, of another form, or of other data. The message names the line.
    """
    judgments = np.full(num_test, NO_DUPLICATE, dtype=np.int64)
    for place, row in _rows(source):
        test = _whole(row, "TestID", num_test, place)
        _whole(row, "TrainID", num_train, place)
        _check_distance(row["Distance"], place)
        if judgments[test] != NO_DUPLICATE:
            raise UserError(f"{place}: TestID {test} is listed again; list each test image once.")
        judgments[test] = _whole(row, "Judgment", len(JUDGMENTS), place)
    if (judgments == NO_DUPLICATE).all():
        raise UserError(f"{source.place} has no rows; expected one for each test image that has a near-duplicate.")
    if (judgments != NO_DUPLICATE).all():
        raise UserError(f"{source.place} lists all {num_test:,} test images; expected a list of near-duplicates.")
    return judgments


def _rows(source: ListFile) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place and the four values of each row."""
    try:
        text = source.content.decode("utf-8-sig")  # spreadsheets start with a byte order mark
    except UnicodeDecodeError as error:
        raise UserError(f"{source.place} is not UTF-8 text (byte {error.start}); save it as CSV UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if sorted(header) != sorted(COLUMNS):
            found = printable(" ".join(",".join(header).split()), max_length=80) or "(nothing)"
            raise UserError(f"{source.place} begins with {found}, expected the columns {','.join(COLUMNS)}.")
        for values in filter(None, reader):  # an empty line has no values
            place = f"{source.place} line {reader.line_num}"
            if len(values) != len(header):
                raise UserError(f"{place} has {len(values)} values, expected {len(header)}, as in the first line.")
            yield place, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise UserError(f"{source.place} line {reader.line_num} is not valid CSV ({error}).") from error


def _whole(row: dict[str, str], column: str, end: int, place: str) -> int:
    text = row[column].strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) < end:
        return int(text)
    shown = printable(text, max_length=40)
    raise UserError(f"{place}: {column} is {shown!r}, expected a whole number from 0 to {end - 1}.")


def _check_distance(text: str, place: str) -> None:
    try:
        is_distance = 0 <= float(text) < math.inf
    except ValueError:
        is_distance = False
    if not is_distance:
        raise UserError(f"{place}: Distance is {printable(text, max_length=40)!r}, expected a number of at least 0.")
