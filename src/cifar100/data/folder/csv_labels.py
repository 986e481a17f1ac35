"""Read and check the label files `train.csv` and `test.csv`, of prepared and of custom data.

The columns `file` and `fine_label` are required. The columns `fine_name`, `superclass_label` and `superclass_name` may
be missing or empty. `file` is relative to the folder of the CSV file.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from cifar100.errors import UserError
from cifar100.files.regular import open_regular, why_not

REQUIRED_COLUMNS = ("file", "fine_label")
COLUMNS = ("file", "fine_label", "fine_name", "superclass_label", "superclass_name")

MAX_VALUE_LENGTH = 1000
"""In characters; no path or name needs more."""

MAX_LINE_LENGTH = 20_000

MAX_LINES_OF_A_ROW = 10
"""A value with a line break is refused; this bounds what is read of it."""

MAX_CSV_BYTES = 128 * 2**20
"""Two million images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One image of a label file."""

    place: str
    """File and line, for error messages."""

    file: str
    """Relative to the folder of the CSV file, with forward slashes, and never outside of it."""

    fine_label: int
    fine_name: str
    """Empty if the column is missing."""

    superclass_label: int | None
    superclass_name: str


def read_labels(csv_file: Path, *, num_classes: int | None = None) -> tuple[list[str], NDArray[np.int64]]:
    """Return the relative image files and the labels, int64 (N,), of a label file.

    Labels must lie in 0 .. num_classes - 1. Without `num_classes`, they must be 0 .. C - 1 without a gap.

    Raises:
        UserError: `read_rows` fails, or a label is out of range or missing.
    """
    rows = read_rows(csv_file)
    if num_classes is None:
        num_classes = count_classes(csv_file, rows)
    for row in rows:
        if row.fine_label >= num_classes:
            raise UserError(
                f"{row.place}: fine_label is {row.fine_label}, expected 0 to {num_classes - 1}, since the training "
                f"data have {num_classes} classes; correct the label."
            )
    return [row.file for row in rows], np.array([row.fine_label for row in rows], dtype=np.int64)


def count_classes(csv_file: Path, rows: list[LabelRow]) -> int:
    """Return the number of classes C; the labels must be 0 .. C - 1, each of at least one image.

    Raises:
        UserError: a label has no image.
    """
    used = {row.fine_label for row in rows}
    for label in range(len(used)):
        if label not in used:
            raise UserError(
                f"{csv_file}: no row has fine_label {label}, but the maximum is {max(used)}; "
                "number the classes from 0 without a gap."
            )
    return len(used)


def read_rows(csv_file: Path) -> list[LabelRow]:
    """Read and check every row of a label file, and that every image file exists.

    Raises:
        UserError: the file cannot be read, has no rows or lacks a column; or a row has a label that is not a whole
            number, or a file that is missing, listed before or outside the folder. The message names the line.
    """
    rows: list[LabelRow] = []
    first_place: dict[str, str] = {}
    for place, fields in records(csv_file):
        row = _parse(place, fields)
        if row.file in first_place:
            raise UserError(f"{place}: {row.file} is listed again, first at {first_place[row.file]}; list it once.")
        if not _is_file(csv_file.parent / row.file):
            found = why_not("regular file", csv_file.parent / row.file) or "does not exist"
            raise UserError(f"{place}: {csv_file.parent / row.file} {found}; correct or remove the row.")
        first_place[row.file] = place
        rows.append(row)
    if not rows:
        raise UserError(f"{csv_file} has no rows; expected one row for each image.")
    return rows


def records(
    csv_file: Path, *, required: Sequence[str] = REQUIRED_COLUMNS, strip: bool = True
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place and the fields of each row of a CSV file with a header. Separated by commas, semicolons or tabs.

    strip: remove the spaces around each value.

    Raises:
        UserError: the file cannot be read or is not CSV, lacks a required column, or a row has another length, control
            characters or too long a value.
    """
    lines_of_row = itertools.count()

    def lines() -> Iterator[str]:
        for line in _lines(csv_file):
            if next(lines_of_row) > MAX_LINES_OF_A_ROW:
                raise UserError(f"{csv_file} line {reader.line_num} holds a line break inside a value; remove it.")
            yield line

    all_lines = lines()
    first = next(all_lines, "")
    reader = csv.reader(itertools.chain([first], all_lines), strict=True, delimiter=_delimiter(first))
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in required if name not in header]
        if missing:
            raise UserError(
                f"{csv_file} has no column {' and '.join(missing)}; expected the column names in the first line, "
                f"separated by commas, semicolons or tabs, but it reads: {' '.join(first.split())[:80] or '(nothing)'}"
            )
        for values in reader:
            lines_of_row = itertools.count()
            place = f"{csv_file} line {reader.line_num}"
            if not values:
                continue  # an empty line
            if len(values) != len(header):
                raise UserError(f"{place} has {len(values)} values, expected {len(header)}, as in the first line.")
            if max(map(len, values)) > MAX_VALUE_LENGTH:
                raise UserError(f"{place} holds a value of more than {MAX_VALUE_LENGTH:,} characters; shorten it.")
            if any(character < " " for character in "".join(values)):
                raise UserError(f"{place} holds a line break or another control character inside a value; remove it.")
            yield place, dict(zip(header, map(str.strip, values) if strip else values, strict=True))
    except csv.Error as error:
        raise UserError(f"{csv_file} line {reader.line_num} is not valid CSV ({error}).") from error


def _delimiter(header: str) -> str:
    """Return what separates the columns: a comma, or a semicolon or tab if there are more of these."""
    return max(",;\t", key=header.count)


def _lines(csv_file: Path) -> Iterator[str]:
    """Yield the lines of a CSV file; refuse what is too large to be one before it is in memory."""
    try:
        with open_regular(csv_file) as file:
            if os.fstat(file.fileno()).st_size > MAX_CSV_BYTES:
                raise UserError(f"{csv_file} is larger than {MAX_CSV_BYTES:,} bytes; it is not a table of images.")
            # Spreadsheets start with a byte order mark.
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            for number in itertools.count(1):
                try:
                    line = text.readline(MAX_LINE_LENGTH + 1)
                except UnicodeDecodeError as error:  # its position counts from the part of the file that was decoded
                    byte = file.tell() - len(error.object) + error.start
                    raise UserError(f"{csv_file} is not UTF-8 text (byte {byte}); save it as CSV UTF-8.") from error
                if len(line) > MAX_LINE_LENGTH:
                    raise UserError(
                        f"{csv_file} line {number} has more than {MAX_LINE_LENGTH:,} characters; shorten it."
                    )
                if not line:
                    return
                yield line
    except OSError as error:
        raise UserError(f"{csv_file} cannot be read ({error.strerror or error}).") from error


def _parse(place: str, fields: dict[str, str]) -> LabelRow:
    file = PurePath(fields["file"])
    if not fields["file"] or file.is_absolute() or ".." in file.parts:
        raise UserError(f"{place}: file is {fields['file']!r}, expected a path inside the folder of the CSV file.")
    fine_label = _parse_label(place, "fine_label", fields["fine_label"])
    superclass_text = fields.get("superclass_label", "")
    return LabelRow(
        place=place,
        file=file.as_posix(),  # also removes a leading ./ so that each file has one name
        fine_label=fine_label,
        fine_name=fields.get("fine_name", ""),
        superclass_label=_parse_label(place, "superclass_label", superclass_text) if superclass_text else None,
        superclass_name=fields.get("superclass_name", ""),
    )


def _parse_label(place: str, column: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):  # nine digits fit every integer type
        raise UserError(f"{place}: {column} is {text!r}, expected a whole number of at least 0.")
    return int(text)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system
        return False
