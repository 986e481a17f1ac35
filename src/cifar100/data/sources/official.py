"""Parse the python and the binary version of the official release, validate the content, build a python version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.sources.containers import read_files
from cifar100.data.sources.pickles import dump_pickle, load_pickle
from cifar100.data.sources.release import Release, ReleaseSplit
from cifar100.errors import UserError

PIXEL_BYTES = 3 * 32 * 32
RECORD_BYTES = 2 + PIXEL_BYTES
"""An image in the binary version: coarse label, fine label, pixels."""

MAX_CLASSES = 256
"""A label is one byte in the binary version."""


def read_release(path: Path) -> Release:
    """Read a release from a folder or an archive.

    Raises:
        UserError: `path` holds no release, or one that is damaged, unsafe or inconsistent.
    """
    return parse_release(read_files(path), path)


def parse_release(files: Mapping[str, bytes], path: Path) -> Release:
    """Build a release from the files of its python or binary version; both give the same result.

    The number of images and of classes may differ from the official ones. Compare `ReleaseSplit.sha256` to find out
    whether the content is official.

    Args:
        files: name -> content, as `read_files` returns them.
        path: where the files come from, for error messages.

    Raises:
        UserError: a file is damaged, unsafe or inconsistent with the others.
    """
    release = _parse_python(files, path) if "meta" in files else _parse_binary(files, path)
    _check_names(release.class_names, f"{path}: fine label names")
    _check_names(release.superclass_names, f"{path}: coarse label names")
    for name, split in (("train", release.train), ("test", release.test)):
        _check_split(split, release, f"{path}: {name}")
    _check_superclasses(release, path)
    return release


def _parse_python(files: Mapping[str, bytes], path: Path) -> Release:
    meta = load_pickle(files["meta"], name=f"{path}: meta")
    return Release(
        train=_python_split(files["train"], f"{path}: train"),
        test=_python_split(files["test"], f"{path}: test"),
        class_names=_names(meta.get("fine_label_names"), f"{path}: fine label names"),
        superclass_names=_names(meta.get("coarse_label_names"), f"{path}: coarse label names"),
    )


def _python_split(content: bytes, where: str) -> ReleaseSplit:
    table = load_pickle(content, name=where)
    data = table.get("data")
    if not isinstance(data, np.ndarray):
        raise _malformed(where, f"no array under 'data', only the keys {', '.join(sorted(table)[:8])!a}")
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXEL_BYTES:
        raise _malformed(where, f"pixels of {data.dtype} {data.shape}, expected uint8 (N, {PIXEL_BYTES})")
    return ReleaseSplit(
        images=np.array(data, order="C").reshape(-1, 3, 32, 32),  # (N, 3072) planar RGB; a writable copy
        fine_labels=_labels(table.get("fine_labels"), len(data), f"{where}: fine labels"),
        coarse_labels=_labels(table.get("coarse_labels"), len(data), f"{where}: coarse labels"),
    )


def _labels(values: Any, count: int, where: str) -> NDArray[np.int64]:
    if isinstance(values, np.ndarray) and values.ndim == 1 and len(values) == count:
        values = values.tolist()
    if not isinstance(values, list) or not all(type(number) is int for number in values):
        raise _malformed(where, "no list of whole numbers")
    if len(values) != count:
        raise _malformed(where, f"a list of length {len(values):,}, expected a label for each of the {count:,} images")
    if not all(0 <= number < MAX_CLASSES for number in values):
        raise _malformed(where, f"labels outside 0..{MAX_CLASSES - 1}")
    return np.array(values, dtype=np.int64)


def _names(values: Any, where: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, bytes | str) for value in values):
        raise _malformed(where, "no list of names")
    try:
        return tuple(value if isinstance(value, str) else value.decode() for value in values)
    except UnicodeDecodeError as error:
        raise _malformed(where, "a name that is not UTF-8") from error


def _parse_binary(files: Mapping[str, bytes], path: Path) -> Release:
    return Release(
        train=_binary_split(files["train.bin"], f"{path}: train.bin"),
        test=_binary_split(files["test.bin"], f"{path}: test.bin"),
        class_names=_names(files["fine_label_names.txt"].split(), f"{path}: fine label names"),
        superclass_names=_names(files["coarse_label_names.txt"].split(), f"{path}: coarse label names"),
    )


def _binary_split(content: bytes, where: str) -> ReleaseSplit:
    if len(content) % RECORD_BYTES:
        raise _malformed(where, f"{len(content):,} bytes, expected a multiple of {RECORD_BYTES:,}; the file is cut off")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    return ReleaseSplit(
        images=np.array(records[:, 2:], order="C").reshape(-1, 3, 32, 32),  # (N, 3072) planar RGB; a writable copy
        fine_labels=records[:, 1].astype(np.int64),
        coarse_labels=records[:, 0].astype(np.int64),
    )


def _check_names(names: tuple[str, ...], where: str) -> None:
    """Refuse names that would be unsafe in tables, plots and file names."""
    if not 0 < len(names) <= MAX_CLASSES:
        raise _malformed(where, f"{len(names):,} names, expected 1 to {MAX_CLASSES:,}")
    if len(set(names)) < len(names):
        raise _malformed(where, "the same name twice")
    for name in names:
        if not name.isprintable() or not name.strip(". ") or set(name) & set("/\\") or len(name) > 100:
            raise _malformed(where, f"the name {name[:40]!a}")


def _check_split(split: ReleaseSplit, release: Release, where: str) -> None:
    if len(split.images) == 0:
        raise _malformed(where, "no images")
    for kind, labels, names in (
        ("fine", split.fine_labels, release.class_names),
        ("coarse", split.coarse_labels, release.superclass_names),
    ):
        if labels.max() >= len(names):
            raise _malformed(where, f"the {kind} label {labels.max()}, but only {len(names):,} names")


def _check_superclasses(release: Release, path: Path) -> None:
    superclasses: dict[int, int] = {}
    for split in (release.train, release.test):
        pairs = np.unique(np.stack([split.fine_labels, split.coarse_labels], axis=1), axis=0)
        for fine, coarse in pairs.tolist():
            if superclasses.setdefault(fine, coarse) != coarse:
                found = f"class {release.class_names[fine]!a} in the superclasses {superclasses[fine]} and {coarse}"
                raise _malformed(f"{path}", found)


def _malformed(where: str, found: str) -> UserError:
    return UserError(f"{where}: found {found}; expected CIFAR-100's format; use an intact copy of the release.")


def python_version(release: Release) -> dict[str, bytes]:
    """Return `train`, `test` and `meta` in the format of the official python version; equal data give equal bytes.

    A `Release` holds no file names of images, so these are numbered.
    """
    names = {"fine_label_names": release.class_names, "coarse_label_names": release.superclass_names}
    return {
        "train": _pickled_split(release.train, "train", "training batch 1 of 1"),
        "test": _pickled_split(release.test, "test", "testing batch 1 of 1"),
        "meta": dump_pickle(names),
    }


def _pickled_split(split: ReleaseSplit, name: str, batch_label: str) -> bytes:
    return dump_pickle(
        {
            "filenames": [f"{name}_{index:05d}.png" for index in range(len(split.images))],
            "batch_label": batch_label,
            "fine_labels": split.fine_labels.tolist(),
            "coarse_labels": split.coarse_labels.tolist(),
            "data": split.images.reshape(-1, PIXEL_BYTES),
        }
    )
