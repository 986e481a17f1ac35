"""Find what has changed in a data folder since it was prepared: by size and time, then by content.

The packed arrays are hashed each time. Every other file is compared with the record of its size and time. Only the
content of files that were touched is read: an image has changed if its pixels differ from its row in the packed arrays.
A file that was edited under its old size and time is found by a thorough comparison only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.description import describe_release
from cifar100.data.folder.custom_images import recorded_files
from cifar100.data.folder.image_files import labels_csv, read_image
from cifar100.data.folder.layout import SPLITS, DataFolder, Split
from cifar100.data.folder.record import Stamp, read_record, stamp_of, stamps_of
from cifar100.data.folder.release_images import read_originals, release_csv, release_images, release_originals
from cifar100.data.layouts.reading import read_listing, read_skipped
from cifar100.data.layouts.tables import find_tables, has_table
from cifar100.data.packed_arrays import channel_statistics, content_sha256
from cifar100.errors import UserError
from cifar100.files.regular import read_bytes
from cifar100.foreign_text import printable
from cifar100.long_steps import progress

Arrays = dict[Split, tuple[NDArray[np.uint8], NDArray[np.int64]]]

_FEW_IMAGES = 1000
"""Comparing as many takes a moment, about which nothing is said."""

_CHUNK = 100

_FILES_BESIDE_IMAGES = 10

_CLASS_FOLDERS = "."
"""Stands for the names of the images in class folders, among the files to compare."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Files of a data folder, relative to it, that are no longer what was prepared. False if there are none."""

    edited: tuple[str, ...] = ()
    """Images, CSV files and originals with another content."""

    missing: tuple[str, ...] = ()
    """Images, CSV files and originals that are gone."""

    added: tuple[str, ...] = ()
    """Images in class folders that were not there."""

    derived: tuple[str, ...] = ()
    """Packed arrays and `dataset.json`: missing, damaged or changed. They can be rebuilt from the others."""

    stamps: dict[str, Stamp] | None = None
    """The new record, if only sizes or times differ from it; else None."""

    def __bool__(self) -> bool:
        return bool(self.edited or self.missing or self.added or self.derived)

    def describe(self) -> str:
        """Return a phrase such as `a.png and 2 more files have changed`."""
        kinds = (
            (self.edited, "has changed", "have changed"),
            (self.derived, "is missing, damaged or changed", "are missing, damaged or changed"),
            (self.missing, "is missing", "are missing"),
            (self.added, "has been added", "have been added"),
        )
        return ", ".join(_phrase(names, one, many) for names, one, many in kinds if names)


def find_changes(folder: DataFolder, info: DatasetInfo, *, thorough: bool = False, needs_test: bool = True) -> Changes:
    """Compare a prepared folder with its `dataset.json`, packed arrays and record. Writes nothing.

    Args:
        folder: a folder whose `dataset.json` holds `info`.
        info: the description of the data.
        thorough: read the content of every file, whatever its size and time.
        needs_test: if not, a release without packed test arrays is not asked for any other file of its test split.

    Raises:
        UserError: the CSV files of custom data were touched, and are wrong.
    """
    num_images = info.num_train + info.num_test
    num_skipped = len(read_skipped(folder.root))
    recorded = read_record(folder.description_place, max_files=num_images + num_skipped + _FILES_BESIDE_IMAGES)
    is_recorded = len(recorded) > num_images and _is_all_recorded(folder, recorded)
    touched = {name for name, stamp in recorded.items() if stamp_of(folder.root, name) != stamp}
    has_test = info.num_test > 0 and (needs_test or folder.is_custom() or folder.packed_images("test").exists())
    arrays, damaged = _load_arrays(folder, info, SPLITS if has_test else ("train",))
    if damaged and folder.is_custom():
        return Changes(derived=damaged)
    if damaged:
        arrays = _arrays_of_originals(folder, info)
        if not arrays:
            return replace(_sort(folder, sorted(touched - {folder.info_name})), derived=damaged)
    elif is_recorded and not touched and not thorough:
        return Changes()
    changes = _Comparison(folder, info, arrays, touched if is_recorded and not thorough else None).run(recorded)
    is_partial = bool(damaged) or has_test != (info.num_test > 0)
    return replace(changes, derived=damaged + changes.derived, stamps=None if is_partial else changes.stamps)


@dataclass(frozen=True)
class _Comparison:
    """Compares the content of the files that were touched with the packed arrays; of all files if that is None."""

    folder: DataFolder
    info: DatasetInfo
    arrays: Arrays
    touched: set[str] | None

    def run(self, recorded: dict[str, Stamp]) -> Changes:
        is_custom = self.folder.is_custom()
        images, checks = self._expect_custom() if is_custom else self._expect_release()
        names = [name for split in images for name in images[split]]
        to_stamp = [*(checks.keys() - {_CLASS_FOLDERS}), *names, self.folder.info_name]
        stamps = stamps_of(self.folder.root, to_stamp)  # before the content is read
        if self._is_suspect(self.folder.info_name) and not self._is_info_true():
            return Changes(derived=(self.folder.info_name,))
        suspects = [name for name in checks if is_custom or self._is_suspect(name)]
        different = [name for name in suspects if not checks[name]()]
        if _CLASS_FOLDERS in different:
            return self._other_files(names, recorded, checks)
        if different and is_custom:  # its rows may be those of other images
            return _sort(self.folder, different)
        members = set(names)
        are_rows_same = names == [name for name in recorded if name in members]
        for split in images:
            different += self._differing_images(images[split], split=split, all_of_them=not are_rows_same)
        is_stale = not different and not (are_rows_same and stamps == recorded)
        return replace(_sort(self.folder, different), stamps=stamps if is_stale else None)

    def _is_suspect(self, name: str) -> bool:
        return self.touched is None or name in self.touched

    def _expect_custom(self) -> tuple[dict[Split, list[str]], dict[str, Callable[[], bool]]]:
        """Return the image files of each split, and for each other file what finds whether it is unchanged."""
        skipped = read_skipped(self.folder.root)
        everything, info = read_listing(self.folder, with_skipped=True), self.info
        listing = everything.without(skipped.keys())
        names = (listing.class_names, listing.superclass_names, listing.class_to_superclass)
        are_names_same = names == (info.class_names, info.superclass_names, info.class_to_superclass)
        listed = _divide({split: listing.labels(split) for split in listing.rows}, listing.num_validation)
        packed = _divide({split: labels for split, (_, labels) in self.arrays.items()}, info.num_validation)
        folder = self.folder
        tables = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"} | find_tables(folder.images)
        prefix = folder.images_prefix
        are_same = {kind: are_names_same and np.array_equal(listed[kind], packed[kind]) for kind in listed}
        checks: dict[str, Callable[[], bool]] = {}
        if listing.tables:
            used = [kind for kind in tables if len(listed[kind]) or len(packed[kind])]
            checks = {f"{prefix}{tables[kind]}": partial(bool, are_same[kind]) for kind in used}
        else:
            checks[_CLASS_FOLDERS] = partial(bool, all(are_same.values()))
        checks |= {f"{prefix}{file}": partial(self._is_unreadable, f"{prefix}{file}") for file in skipped}
        return {split: [f"{prefix}{file}" for file in listing.files(split)] for split in listing.rows}, checks

    def _expect_release(self) -> tuple[dict[Split, list[str]], dict[str, Callable[[], bool]]]:
        """Return the same for a release."""
        folder, info = self.folder, self.info
        images: dict[Split, list[str]] = {}
        checks: dict[str, Callable[[], bool]] = {}
        for split, (_, labels) in self.arrays.items():
            images[split] = release_images(folder, info, labels, split=split)
            checks[release_csv(folder, split)] = partial(self._is_csv_same, split)
        return images, checks | dict.fromkeys(release_originals(folder), lambda: self._originals == info)

    def _other_files(self, names: list[str], recorded: Mapping[str, Stamp], checks: Collection[str]) -> Changes:
        """Return the images that came to the class folders, and those that are gone."""
        before = recorded.keys() - {self.folder.info_name, *checks}
        present = set(names)
        added = tuple(name for name in names if before and name not in before)
        missing = tuple(name for name in recorded if name in before and name not in present)
        return Changes(added=added, missing=missing, derived=() if added or missing else (self.folder.info_name,))

    def _is_unreadable(self, name: str) -> bool:
        """Return whether an image that was left out is still damaged."""
        try:
            read_image(self.folder.root / name)
        except UserError:
            return True
        return False

    @cached_property
    def _originals(self) -> DatasetInfo | None:
        """The description of the originals; None if they are missing or damaged, and for custom data."""
        release = None if self.folder.is_custom() else read_originals(self.folder)
        try:
            return None if release is None else describe_release(release)
        except UserError:  # a class without a superclass
            return None

    def _is_csv_same(self, split: Split) -> bool:
        _, labels = self.arrays[split]
        written = labels_csv(labels, self.info, split=split)
        try:
            return read_bytes(self.folder.csv(split), limit=len(written)) == written
        except OSError:
            return False

    def _is_info_true(self) -> bool:
        """Return whether `dataset.json` describes the arrays, and the originals if they are those of the arrays."""
        images, _ = self.arrays["train"]
        measured = channel_statistics(images[: len(images) - self.info.num_validation])
        recorded = (self.info.mean, self.info.std)
        are_others = self._originals is None or self._originals.sha256 != self.info.sha256
        return np.allclose(measured, recorded, rtol=1e-9, atol=0) and (are_others or self._originals == self.info)

    def _differing_images(self, files: list[str], *, split: Split, all_of_them: bool) -> list[str]:
        """Return the files, of those to compare, whose pixels are not those of their row."""
        images, _ = self.arrays[split]
        side = self.folder.image_size  # finding it lists the class folders
        indices = [index for index, name in enumerate(files) if all_of_them or self._is_suspect(name)]

        def differs(index: int) -> bool:
            try:
                image = read_image(self.folder.root / files[index], side=side)
            except UserError:  # missing or damaged
                return True
            return not np.array_equal(image, images[index].transpose(1, 2, 0))

        def compare(chunk: list[int]) -> list[str]:
            return [files[index] for index in chunk if differs(index)]

        chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
        silent = len(indices) < _FEW_IMAGES
        different = []
        title = f"Comparing {split} images"
        with progress(title, total=len(indices), silent=silent) as advance, ThreadPoolExecutor() as pool:
            for chunk, found in zip(chunks, pool.map(compare, chunks), strict=True):
                advance(len(chunk))
                different += found
        return different


def _load_arrays(folder: DataFolder, info: DatasetInfo, splits: tuple[Split, ...]) -> tuple[Arrays, tuple[str, ...]]:
    """Return the packed arrays of each split, and the names of those that are damaged or not those of `info`."""
    arrays: Arrays = {}
    damaged: list[str] = []
    for split in splits:
        try:
            arrays[split] = folder.load(split)
            is_same = content_sha256(*arrays[split], info) == info.sha256.get(split)
        except UserError:
            is_same = False
        if not is_same:
            damaged.append(folder.packed_images(split).relative_to(folder.root).as_posix())
    return arrays, tuple(damaged)


def _arrays_of_originals(folder: DataFolder, info: DatasetInfo) -> Arrays:
    """Return the images and labels of the originals; empty unless they are those that were prepared."""
    release = read_originals(folder)
    if release is None or {split: getattr(release, split).sha256() for split in SPLITS} != info.sha256:
        return {}
    return {split: (getattr(release, split).images, getattr(release, split).fine_labels) for split in SPLITS}


def _sort(folder: DataFolder, names: list[str]) -> Changes:
    """Return changes of which some files are missing, the others edited."""
    missing = {name for name in names if stamp_of(folder.root, name) is None}
    edited = tuple(name for name in names if name not in missing)
    return Changes(edited=edited, missing=tuple(name for name in names if name in missing))


def _divide(labels: Mapping[Split, NDArray[np.int64]], num_validation: int) -> dict[str, NDArray[np.int64]]:
    """Return the labels of each CSV file: those of the validation images are the last of the training labels."""
    num_train = len(labels["train"]) - num_validation
    none = np.empty(0, dtype=np.int64)
    return {
        "train": labels["train"][:num_train],
        "validation": labels["train"][num_train:],
        "test": labels.get("test", none),
    }


def _is_all_recorded(folder: DataFolder, recorded: Mapping[str, Stamp]) -> bool:
    """Return whether a record has what must be compared: the tables; or the very images in class folders."""
    if not folder.is_custom():
        return recorded.keys() >= {folder.info_name, *(release_csv(folder, split) for split in SPLITS)}
    if has_table(folder.images):
        tables = (f"{folder.images_prefix}{name}" for name in find_tables(folder.images).values())
        return recorded.keys() >= {folder.info_name, *tables}
    return recorded.keys() == {folder.info_name, *recorded_files(folder, read_listing(folder, with_skipped=True))}


def _phrase(names: tuple[str, ...], one: str, many: str) -> str:
    if len(names) == 1:
        return f"{printable(names[0])} {one}"
    return f"{printable(names[0])} and {len(names) - 1:,} more file{'s' * (len(names) > 2)} {many}"
