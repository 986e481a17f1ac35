"""`audit.csv`: the findings as a table, whose column `verdict` a person edits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from cifar100.data.audit.findings import KINDS, Finding
from cifar100.data.audit.images import ImageList, image_files
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.csv_labels import records
from cifar100.data.folder.layout import SPLITS, DataFolder, Split
from cifar100.errors import UserError
from cifar100.files.atomic import write_atomically
from cifar100.foreign_text import csv_cell, printable

Verdict = Literal["", "keep", "reject"]

COLUMNS = (
    *("kind", "split", "index", "file", "label", "other_split", "other_index", "other_file", "suggested_label"),
    *("score", "verdict"),
)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A row of an edited table."""

    split: Split
    index: int
    """Of the image, within its split."""

    verdict: Verdict


def write_table(path: Path, findings: Iterable[Finding], images: ImageList) -> None:
    """Write the findings without verdicts, atomically."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for finding in findings:
        position, other = finding.position, finding.other
        paired = ("", "", "") if other is None else _place(other, images)
        suggested = "" if finding.suggested is None else csv_cell(images.info.class_names[finding.suggested])
        label = csv_cell(images.class_name(position))
        score = f"{finding.score:.4f}"
        writer.writerow((finding.kind, *_place(position, images), label, *paired, suggested, score, ""))
    write_atomically(path, text.getvalue().encode())


def read_table(path: Path, images: ImageList) -> list[Judgement]:
    """Read an edited table and compare each row with the data.

    Args:
        path: the CSV file. Further columns are allowed, such as a person's notes.
        images: the images of both splits; if only the training images are listed, of a test image only the index is
            compared.

    Raises:
        UserError: the file cannot be read, or a row does not fit the data; names the line.
    """
    judgements: list[Judgement] = []
    verdicts: dict[tuple[Split, int], tuple[str, Verdict]] = {}
    for place, fields in records(path, required=COLUMNS):
        judgement = _judgement(place, fields, images)
        if judgement.verdict:
            image = judgement.split, judgement.index
            earlier, verdict = verdicts.setdefault(image, (place, judgement.verdict))
            if verdict != judgement.verdict:
                raise UserError(
                    f"{place}: verdict is {judgement.verdict!r}, but {earlier} says {verdict!r} of the same image; "
                    "decide on one."
                )
        judgements.append(judgement)
    return judgements


def rejected_images(path: Path, folder: DataFolder) -> NDArray[np.int64]:
    """Return the indices of the training images that an edited table rejects, int64, ascending.

    Raises:
        UserError: as `read_table`.
    """
    labels = folder.load_labels("train")
    images = ImageList(info=folder.info(), labels=labels, files=image_files(folder, labels, split="train"))
    rejected = rejected_indices(read_table(path, images), split="train")
    check_classes_remain(path, rejected, labels, folder.info())
    return rejected


def check_classes_remain(path: Path, rejected: NDArray[np.int64], labels: NDArray[np.int64], info: DatasetInfo) -> None:
    """Refuse a table that rejects all training images of a class. labels: int64 (N,), of the training arrays.

    Raises:
        UserError: names the class.
    """
    num_train = info.num_train - info.num_validation
    remaining = np.delete(np.arange(num_train), rejected[rejected < num_train])
    for label in np.unique(labels[:num_train]):
        if not (labels[remaining] == label).any():
            name = printable(info.class_names[label], max_length=60)
            raise UserError(f"{path} rejects all training images of the class {name!r}; keep at least one.")


def rejected_indices(judgements: Iterable[Judgement], *, split: Split) -> NDArray[np.int64]:
    """Return the indices of the images of a split that are rejected, int64, ascending."""
    rejected = {row.index for row in judgements if row.verdict == "reject" and row.split == split}
    return np.array(sorted(rejected), dtype=np.int64)


def _judgement(place: str, fields: Mapping[str, str], images: ImageList) -> Judgement:
    kind, verdict = fields["kind"], fields["verdict"].lower()
    if kind not in KINDS:
        raise _unfit(place, "kind", kind, f"one of {', '.join(KINDS)}")
    if verdict not in get_args(Verdict):
        raise _unfit(place, "verdict", verdict, "keep, reject or nothing")
    position = _check_image(place, fields, images, prefix="")
    if position < len(images.files):
        _check_cell(place, "label", fields["label"], images.class_name(position))
    suggested = fields["suggested_label"]
    if suggested and suggested not in {csv_cell(name).strip() for name in images.info.class_names}:
        raise _unfit(place, "suggested_label", suggested, "the name of a class or nothing")
    if any(fields[f"other_{name}"] for name in ("split", "index", "file")):
        _check_image(place, fields, images, prefix="other_")
    return Judgement(split=images.split(position), index=images.index(position), verdict=cast(Verdict, verdict))


def _check_image(place: str, fields: Mapping[str, str], images: ImageList, *, prefix: str) -> int:
    """Return the position of the image that a row names; refuse one that the data do not have."""
    split, index = fields[f"{prefix}split"], fields[f"{prefix}index"]
    if split not in SPLITS:
        raise _unfit(place, f"{prefix}split", split, " or ".join(SPLITS))
    count = images.info.num_train if split == "train" else images.info.num_test
    if not (index.isascii() and index.isdecimal() and len(index) < 10 and int(index) < count):
        expected = (
            f"0 to {count - 1}, the images of this split" if count else "no row, since the data have no test split"
        )
        raise _unfit(place, f"{prefix}index", index, expected)
    position = int(index) + (images.info.num_train if split == "test" else 0)
    if position < len(images.files):
        _check_cell(place, f"{prefix}file", fields[f"{prefix}file"], images.files[position])
    return position


def _check_cell(place: str, column: str, found: str, expected: str) -> None:
    if found != csv_cell(expected).strip():
        raise _unfit(place, column, found, f"{printable(expected, max_length=200)!r}, as in the data")


def _unfit(place: str, column: str, found: str, expected: str) -> UserError:
    shown = printable(found, max_length=200)
    return UserError(f"{place}: {column} is {shown!r}, expected {expected}; correct or remove the row.")


def _place(position: int, images: ImageList) -> tuple[str, int, str]:
    return images.split(position), images.index(position), csv_cell(images.files[position])
