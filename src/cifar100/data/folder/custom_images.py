"""Prepare custom data: `train.csv`, perhaps `val.csv` and `test.csv`, and images of many formats and any size.

The images are not changed; the packed arrays and `dataset.json` are written next to them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.data.folder.csv_labels import LabelRow, count_classes, read_rows
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.layout import CHANNELS, IMAGE_SIDE, DataFolder, DatasetInfo, Split, write_info
from cifar100.data.folder.record import begin_record, stamps_of, write_record
from cifar100.data.packed_arrays import ContentSums, remove_packed, write_labels, writing_images
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, writing_below
from cifar100.long_steps import progress
from cifar100.process.memory import bytes_text
from cifar100.terminal import say

_PART_BYTES = 2**26
"""Of the images that are in memory at the same time."""

_LARGE_BYTES = 10**8
"""Of arrays about whose size a line is worth while."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The content of the CSV files of custom data, checked."""

    rows: dict[Split, list[LabelRow]]
    """The images of each split; those of `val.csv` follow those of `train.csv`."""

    num_validation: int
    class_names: tuple[str, ...]
    superclass_names: tuple[str, ...]
    class_to_superclass: tuple[int, ...]

    def labels(self, split: Split) -> NDArray[np.int64]:
        """Return int64 (N,)."""
        return np.array([row.fine_label for row in self.rows[split]], dtype=np.int64)

    def files(self, split: Split) -> list[str]:
        """Return the image files of a split, relative to the folder."""
        return [row.file for row in self.rows[split]]


def csv_files(folder: DataFolder) -> list[str]:
    """Return the names of the CSV files of custom data that are there."""
    validation = folder.validation_csv()
    found = [folder.csv("train"), *([validation] if validation else []), folder.csv("test")]
    return [path.name for path in found if path.is_file()]


def read_tables(folder: DataFolder) -> Tables:
    """Read and check the CSV files of custom data.

    Raises:
        UserError: a CSV file is wrong; the message names file and line.
    """
    validation_csv = folder.validation_csv()
    validation = read_rows(validation_csv) if validation_csv else []
    train = read_rows(folder.csv("train"))
    num_classes = count_classes(folder.csv("train"), train)
    if num_classes < 2:
        raise UserError(f"{folder.csv('train')} has a single class, expected at least two; add images of another.")
    test = read_rows(folder.csv("test")) if folder.csv("test").is_file() else []
    _check_rows({"train": train, "validation": validation, "test": test}, num_classes)
    class_names, superclass_names, class_to_superclass = _name_classes([*train, *validation, *test])
    rows: dict[Split, list[LabelRow]] = {"train": [*train, *validation]}
    return Tables(
        rows=rows | ({"test": test} if test else {}),
        num_validation=len(validation),
        class_names=class_names,
        superclass_names=superclass_names,
        class_to_superclass=class_to_superclass,
    )


def prepare_custom(root: Path, *, image_size: int = IMAGE_SIDE) -> DatasetInfo:
    """Read the CSV files and all images in `root`, and write packed arrays and `dataset.json`.

    The images go to the disk part by part, so that memory does not grow with their number and size. The files get their
    names when all are complete.

    image_size: side in pixels to which the images are scaled.

    Raises:
        UserError: a CSV file or an image is wrong (the message names file and line), or `root` cannot be written.
    """
    folder = DataFolder(root, image_size)
    names = csv_files(folder)
    tables = read_tables(folder)
    files = [file for split in tables.rows for file in tables.files(split)]
    stamps = stamps_of(root, [*names, *files])  # before the images are read
    _state_size(folder, len(files))
    with writing_below(root), _made(folder.packed):
        with ExitStack() as until_complete:
            sums = {split: _write_images(tables, folder, until_complete, split=split) for split in tables.rows}
            info = _describe(tables, sums, folder)
            if info.constant_channels == CHANNELS:
                raise UserError(
                    f"{root}: all training images have one and the same colour, from which nothing can be learned; "
                    "check the images that train.csv lists."
                )
            begin_record(folder.description_place)
        for split in tables.rows:
            write_labels(tables.labels(split), folder, split=split)
        if "test" not in tables.rows:
            remove_packed(folder, split="test")
        write_info(info, folder.info_file)
        write_record(folder.description_place, stamps | stamps_of(root, [folder.info_name]))
    for channels, found in ((info.constant_channels, "constant"), (info.almost_constant_channels, "almost constant")):
        if channels:
            say(f"{root}: {' and '.join(channels)} {found} over all training images, so normalised by 1")
    return info


def _state_size(folder: DataFolder, num_images: int) -> None:
    """Say how much the arrays take, before they take it.

    Raises:
        UserError: the disk has less space.
    """
    side = folder.image_size
    needed = num_images * 3 * side**2
    free = shutil.disk_usage(folder.root).free
    what = f"{num_images:,} images of {side}x{side} pixels take {bytes_text(needed)}"
    if needed > free:
        raise UserError(
            f"{what} in {folder.packed}, but its disk has {bytes_text(free)} free; free some space, or give a smaller "
            "--data.image_size."
        )
    if needed >= _LARGE_BYTES:
        say(f"{folder.root}: {what} in {folder.packed}")


@contextmanager
def _made(place: Path) -> Iterator[None]:
    """Create a folder. If the block fails, remove the folders that were created and are empty."""
    created = [folder for folder in (place, *place.parents) if not folder.exists()]
    place.mkdir(parents=True, exist_ok=True)
    remove_partial_files(place)
    try:
        yield
    except BaseException:
        for folder in created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def _write_images(tables: Tables, folder: DataFolder, until_complete: ExitStack, *, split: Split) -> ContentSums:
    """Write the images of a split; they get their name when `until_complete` is left. Return their sums."""
    rows, side = tables.rows[split], folder.image_size
    sums = ContentSums(len(rows) - tables.num_validation if split == "train" else 0)
    append = until_complete.enter_context(writing_images(folder, split=split, number=len(rows)))
    num_at_once = max(1, _PART_BYTES // (3 * side**2))

    def read(row: LabelRow) -> NDArray[np.uint8]:
        try:
            return read_image(folder.root / row.file, side=side).transpose(2, 0, 1)
        except UserError as error:
            raise UserError(f"{row.place}: {error}") from error

    with progress(f"Reading {split} images", total=len(rows)) as advance, ThreadPoolExecutor() as pool:
        for start in range(0, len(rows), num_at_once):
            images = np.empty((len(rows[start : start + num_at_once]), 3, side, side), dtype=np.uint8)
            for place, image in enumerate(pool.map(read, rows[start : start + num_at_once])):
                images[place] = image
                advance(1)
            sums.add(images)
            append(images)
    return sums


def _describe(tables: Tables, sums: dict[Split, ContentSums], folder: DataFolder) -> DatasetInfo:
    mean, std = sums["train"].statistics()
    return DatasetInfo(
        name=folder.root.resolve().name,
        origin="custom",
        class_names=tables.class_names,
        superclass_names=tables.superclass_names,
        class_to_superclass=tables.class_to_superclass,
        image_size=folder.image_size,
        num_train=len(tables.rows["train"]),
        num_test=len(tables.rows.get("test", ())),
        num_validation=tables.num_validation,
        sha256={split: sums[split].sha256(tables.labels(split)) for split in sums},
        mean=mean,
        std=std,
    )


def _check_rows(rows: dict[str, list[LabelRow]], num_classes: int) -> None:
    """Refuse a class that has no training images, and an image that is in two of the CSV files."""
    places = {row.file: (row.place, "training") for row in rows["train"]}
    for kind in ("validation", "test"):
        for row in rows[kind]:
            if row.fine_label >= num_classes:
                raise UserError(
                    f"{row.place}: fine_label is {row.fine_label}, expected one of the classes in train.csv, 0 to "
                    f"{num_classes - 1}; correct the label."
                )
            if row.file in places:
                place, other = places[row.file]
                raise UserError(
                    f"{row.place}: {row.file} is also a {other} image ({place}), which would bias the {kind}; list it "
                    "in one of the files."
                )
        places |= {row.file: (row.place, kind) for row in rows[kind]}


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
