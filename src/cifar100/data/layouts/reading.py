"""List the labelled images of a data folder, whatever its layout: the one place that training, audit and report ask."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cifar100.data.folder.csv_labels import read_labels, records
from cifar100.data.layouts.class_folders import Part, find_class_folders
from cifar100.data.layouts.listing import Listing, Row, Split, make_listing
from cifar100.data.layouts.recognition import recognise
from cifar100.data.layouts.tables import find_tables, has_table, read_table
from cifar100.errors import UserError
from cifar100.files.atomic import write_atomically
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import printable

if TYPE_CHECKING:
    from cifar100.data.folder.layout import DataFolder

SKIPPED = "skipped_images.csv"
"""The images of a data folder that are damaged and were left out: `file` relative to that of the images, `reason`."""


def list_images(folder: DataFolder, split: Split, *, num_classes: int) -> tuple[list[str], NDArray[np.int64]]:
    """Return the image files of a split, relative to `folder.images`, and their labels, int64 (N,).

    The order is that of the packed arrays.

    Raises:
        UserError: the images or labels of custom data cannot be listed, or a label is out of range.
    """
    if not folder.is_custom():
        return read_labels(folder.csv(split), num_classes=num_classes)
    listing = read_listing(folder)
    if split not in listing.rows:
        return [], np.empty(0, dtype=np.int64)
    labels = listing.labels(split)
    if labels.max() >= num_classes:
        found = f"{folder.root} holds {len(listing.class_names):,} classes"
        again = f"prepare the data again: cifar100 prepare --root {as_argument(folder.root)}"
        raise UserError(f"{found}, expected {num_classes:,}; {again}")
    return listing.files(split), labels


def read_listing(folder: DataFolder, *, with_skipped: bool = False) -> Listing:
    """Return the images of custom data.

    with_skipped: whether images that were left out because they are damaged are listed nevertheless.

    Raises:
        UserError: an image or a label is wrong; the message names file and line.
    """
    listing = list_folder(folder.images)
    skipped = {} if with_skipped else read_skipped(folder.root)
    return listing.without(skipped.keys()) if skipped else listing


def list_folder(root: Path) -> Listing:
    """Return the images of a folder with a table or with class folders.

    Raises:
        UserError: as `read_listing`.
    """
    if has_table(root):
        tables = find_tables(root)
        rows = {part: read_table(root / name) for part, name in tables.items()}
        return make_listing(rows, where=str(root / tables["train"]), found=tables["train"], tables=(*tables.values(),))
    recognise(root)  # refuses other layouts beside the class folders
    found = find_class_folders(root)
    by_part: dict[Part, list[Row]] = {
        part: [Row(place=str(root / image.file), file=image.file, label=image.class_name) for image in images]
        for part, images in found.images.items()
    }
    return make_listing(by_part, where=str(root), found="class folders", ignored=found.ignored, are_names=True)


def read_skipped(root: Path) -> dict[str, str]:
    """Return the images of a data folder that were left out, with the reason."""
    path = root / SKIPPED
    if not path.is_file():
        return {}
    rows = records(path, required=("file", "reason"), strip=False)  # a class folder may begin with a space
    return {fields["file"]: fields["reason"] for _, fields in rows}


def write_skipped(root: Path, skipped: Mapping[str, str]) -> None:
    """Write the list of the images that were left out; remove it if there are none."""
    if not skipped:
        (root / SKIPPED).unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "reason"))
    writer.writerows((file, printable(reason, max_length=500)) for file, reason in skipped.items())
    write_atomically(root / SKIPPED, text.getvalue().encode())
