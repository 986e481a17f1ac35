"""Prepare custom data: a folder with `train.csv`, an optional `test.csv`, and images of many formats and any size.

The images are not changed; the packed arrays and `dataset.json` are written next to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.data.decoding.decode import IMAGE_SIDE
from cifar100.data.folder.csv_labels import MAX_CSV_BYTES, LabelRow, count_classes, read_rows
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.layout import DataFolder, DatasetInfo, Split, channel_statistics, write_info, write_packed
from cifar100.errors import UserError
from cifar100.files.atomic import writing_below
from cifar100.files.regular import read_bytes
from cifar100.long_steps import progress
from cifar100.terminal import say


def ensure_custom(root: Path) -> DatasetInfo:
    """Return the facts about custom data; prepare them first if a CSV file is new or has changed.

    This does not detect a changed image under the same name; `prepare_custom` reads all images again.

    Raises:
        UserError: `prepare_custom` fails.
    """
    folder = DataFolder(root)
    try:
        info = folder.info() if folder.is_prepared() else None
    except UserError:  # damaged
        info = None
    if info is None or info.origin != "custom" or info.sha256 != _csv_sha256(folder):
        return prepare_custom(root)
    return info


def prepare_custom(root: Path) -> DatasetInfo:
    """Read the CSV files and all images in `root`, and write packed arrays and `dataset.json`.

    Raises:
        UserError: a CSV file or an image is wrong (the message names file and line), or `root` cannot be written.
    """
    folder = DataFolder(root)
    sha256 = _csv_sha256(folder)
    rows: dict[Split, list[LabelRow]] = {split: read_rows(folder.csv(split)) for split in _splits(folder)}
    num_classes = count_classes(folder.csv("train"), rows["train"])
    _check_rows(rows, num_classes, folder)
    class_names, superclass_names, class_to_superclass = _name_classes([*rows["train"], *rows.get("test", [])])
    images = {split: _read_images(rows[split], root, split=split) for split in rows}
    mean, std = channel_statistics(images["train"])
    info = DatasetInfo(
        name=root.resolve().name,
        origin="custom",
        class_names=class_names,
        superclass_names=superclass_names,
        class_to_superclass=class_to_superclass,
        num_train=len(rows["train"]),
        num_test=len(rows.get("test", [])),
        sha256=sha256,
        mean=mean,
        std=std,
    )
    with writing_below(root):
        folder.info_file.unlink(missing_ok=True)
        for split in rows:
            labels = np.array([row.fine_label for row in rows[split]], dtype=np.int64)
            write_packed(images[split], labels, folder, split=split)
        write_info(info, folder.info_file)
    if info.constant_channels:
        channels = " and ".join(info.constant_channels)
        say(f"{root}: {channels} constant over all training images, so normalised by 1")
    return info


def _splits(folder: DataFolder) -> tuple[Split, ...]:
    return ("train", "test") if folder.csv("test").is_file() else ("train",)


def _csv_sha256(folder: DataFolder) -> dict[str, str]:
    try:
        return {
            split: hashlib.sha256(read_bytes(folder.csv(split), limit=MAX_CSV_BYTES)).hexdigest()
            for split in _splits(folder)
        }
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}).") from error


def _check_rows(rows: dict[Split, list[LabelRow]], num_classes: int, folder: DataFolder) -> None:
    if num_classes < 2:
        raise UserError(f"{folder.csv('train')} has a single class, expected at least two; add images of another.")
    training_files = {row.file: row.place for row in rows["train"]}
    for row in rows.get("test", []):
        if row.fine_label >= num_classes:
            raise UserError(
                f"{row.place}: fine_label is {row.fine_label}, expected one of the classes in train.csv, 0 to "
                f"{num_classes - 1}; correct the label."
            )
        if row.file in training_files:
            raise UserError(
                f"{row.place}: {row.file} is also a training image ({training_files[row.file]}), which would bias the "
                "test; list it in one of the files."
            )


def _name_classes(rows: list[LabelRow]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
    """Return the class names, the superclass names and the superclass of each class; the last two may be empty."""
    class_names = _names(((row.place, row.fine_label, row.fine_name) for row in rows), "fine")
    superclasses: dict[int, int | None] = {}
    for row in rows:
        if superclasses.setdefault(row.fine_label, row.superclass_label) != row.superclass_label:
            raise UserError(
                f"{row.place}: superclass_label is {_shown(row.superclass_label)}, but another row of class "
                f"{row.fine_label} has {_shown(superclasses[row.fine_label])}; give all its rows the same."
            )
        if row.superclass_name and row.superclass_label is None:
            raise UserError(f"{row.place} has a superclass_name but no superclass_label; give both or neither.")
    labels = [superclasses[label] for label in range(len(class_names))]
    numbers = [label for label in labels if label is not None]
    if not numbers:
        return class_names, (), ()
    if len(numbers) < len(labels):
        raise UserError(f"class {labels.index(None)} has no superclass_label, but others have one; label all or none.")
    names = _names(((row.place, row.superclass_label or 0, row.superclass_name) for row in rows), "superclass")
    return class_names, names, tuple(numbers)


def _names(entries: Iterable[tuple[str, int, str]], kind: str) -> tuple[str, ...]:
    """Return the name of each label from (place, label, name), or its number if no label has a name."""
    names: dict[int, str] = {}
    owners: dict[str, int] = {}
    for place, label, name in entries:
        if names.setdefault(label, name) != name:
            raise UserError(
                f"{place}: {kind}_name is {name!r}, but another row with {kind}_label {label} has {names[label]!r}; "
                "give one label one name."
            )
        if name and owners.setdefault(name, label) != label:
            raise UserError(
                f"{place}: {kind}_name {name!r} of {kind}_label {label} is already the name of {kind}_label "
                f"{owners[name]}; give each label its own name."
            )
    for label in range(len(names)):
        if label not in names:
            raise UserError(f"no row has {kind}_label {label}, but the maximum is {max(names)}; leave no gap.")
        if owners and not names[label]:
            raise UserError(f"{kind}_label {label} has no {kind}_name, but others have one; name all or none.")
    return tuple(names[label] or str(label) for label in range(len(names)))


def _shown(label: int | None) -> str:
    return "empty" if label is None else str(label)


def _read_images(rows: list[LabelRow], root: Path, *, split: Split) -> NDArray[np.uint8]:
    """Return uint8 (N, 3, 32, 32)."""
    images = np.empty((len(rows), 3, IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)

    def read(index: int) -> None:
        try:
            images[index] = read_image(root / rows[index].file).transpose(2, 0, 1)
        except UserError as error:
            raise UserError(f"{rows[index].place}: {error}") from error

    with progress(f"Reading {split} images", total=len(rows)) as advance, ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(rows))):
            advance(1)
    return images
