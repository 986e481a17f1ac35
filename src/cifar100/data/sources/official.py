"""The official releases: read the python or the binary version, check everything in it, write the python version."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.sources.containers import read_files
from cifar100.data.sources.download import download
from cifar100.data.sources.pickles import dump_pickle, load_pickle
from cifar100.data.sources.release import Release, ReleaseSplit
from cifar100.errors import UserError

__all__ = ["download", "read_release", "write_python_version"]

PIXEL_BYTES = 3 * 32 * 32
RECORD_BYTES = 2 + PIXEL_BYTES
"""An image in the binary version: coarse label, fine label, pixels."""

MAX_CLASSES = 256
"""A label is one byte in the binary version."""


def read_release(path: Path) -> Release:
    """Read a release from a folder or an archive; python and binary version give the same result.

    The number of images and of classes may differ from the official ones; `ReleaseSplit.sha256` tells whether the
    content is the official one.

    Raises:
        UserError: there is no release at `path`, or it is damaged, unsafe or contradicts itself.
    """
    files = read_files(path)
    release = _read_python(files, path) if "meta" in files else _read_binary(files, path)
    _check_names(release.class_names, f"{path}: fine label names")
    _check_names(release.superclass_names, f"{path}: coarse label names")
    for name, split in (("train", release.train), ("test", release.test)):
        _check_split(split, release, f"{path}: {name}")
    _check_superclasses(release, path)
    return release


def _read_python(files: dict[str, bytes], path: Path) -> Release:
    # Each file is dropped once it is read: `train` alone has 155 MB.
    tables = {name: _text_keys(load_pickle(files.pop(name), name=f"{path}: {name}")) for name in tuple(files)}
    meta = tables["meta"]
    return Release(
        train=_python_split(tables["train"], f"{path}: train"),
        test=_python_split(tables["test"], f"{path}: test"),
        class_names=_names(meta.get("fine_label_names"), f"{path}: fine label names"),
        superclass_names=_names(meta.get("coarse_label_names"), f"{path}: coarse label names"),
    )


def _text_keys(table: dict[Any, Any]) -> dict[str, Any]:
    """Return the table with text keys; the official files have bytes."""
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in table.items()}


def _python_split(table: dict[str, Any], where: str) -> ReleaseSplit:
    data = table.get("data")
    if not isinstance(data, np.ndarray):
        raise _malformed(where, f"no array under 'data', only the keys {', '.join(sorted(table)[:8])!a}")
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXEL_BYTES:
        raise _malformed(where, f"pixels of {data.dtype} {data.shape}, expected uint8 (N, {PIXEL_BYTES})")
    return ReleaseSplit(
        images=np.array(data, order="C").reshape(-1, 3, 32, 32),  # (N, 3072) planar RGB; a writable copy
        fine_labels=_labels(table.get("fine_labels"), f"{where}: fine labels"),
        coarse_labels=_labels(table.get("coarse_labels"), f"{where}: coarse labels"),
    )


def _labels(values: Any, where: str) -> NDArray[np.int64]:
    numbers = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise _malformed(where, "no list of whole numbers")
    if not all(0 <= number < MAX_CLASSES for number in numbers):
        raise _malformed(where, f"labels outside 0..{MAX_CLASSES - 1}")
    return np.array(numbers, dtype=np.int64)


def _names(values: Any, where: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, bytes | str) for value in values):
        raise _malformed(where, "no list of names")
    try:
        return tuple(value if isinstance(value, str) else value.decode() for value in values)
    except UnicodeDecodeError as error:
        raise _malformed(where, "a name that is not UTF-8") from error


def _read_binary(files: dict[str, bytes], path: Path) -> Release:
    return Release(
        train=_binary_split(files.pop("train.bin"), f"{path}: train.bin"),
        test=_binary_split(files.pop("test.bin"), f"{path}: test.bin"),
        class_names=_names(files["fine_label_names.txt"].split(), f"{path}: fine label names"),
        superclass_names=_names(files["coarse_label_names.txt"].split(), f"{path}: coarse label names"),
    )


def _binary_split(content: bytes, where: str) -> ReleaseSplit:
    if len(content) % RECORD_BYTES:
        raise _malformed(where, f"{len(content)} bytes, expected a multiple of {RECORD_BYTES}; the file is cut off")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    return ReleaseSplit(
        images=np.array(records[:, 2:], order="C").reshape(-1, 3, 32, 32),  # (N, 3072) planar RGB; a writable copy
        fine_labels=records[:, 1].astype(np.int64),
        coarse_labels=records[:, 0].astype(np.int64),
    )


def _check_names(names: tuple[str, ...], where: str) -> None:
    """Names become labels of tables and plots, and may become file names."""
    if not 0 < len(names) <= MAX_CLASSES:
        raise _malformed(where, f"{len(names)} names, expected 1 to {MAX_CLASSES}")
    if len(set(names)) < len(names):
        raise _malformed(where, "the same name twice")
    for name in names:
        if not name.isprintable() or not name.strip(". ") or set(name) & set("/\\") or len(name) > 100:
            raise _malformed(where, f"the name {name[:40]!a}")


def _check_split(split: ReleaseSplit, release: Release, where: str) -> None:
    lengths = {len(split.images), len(split.fine_labels), len(split.coarse_labels)}
    if len(lengths) > 1:
        found = (
            f"{len(split.images)} images, {len(split.fine_labels)} fine and {len(split.coarse_labels)} coarse labels"
        )
        raise _malformed(where, found)
    if lengths == {0}:
        raise _malformed(where, "no images")
    for kind, labels, names in (
        ("fine", split.fine_labels, release.class_names),
        ("coarse", split.coarse_labels, release.superclass_names),
    ):
        if labels.max() >= len(names):
            raise _malformed(where, f"the {kind} label {labels.max()}, but only {len(names)} names")


def _check_superclasses(release: Release, path: Path) -> None:
    superclasses: dict[int, int] = {}
    for split in (release.train, release.test):
        pairs = np.unique(np.stack([split.fine_labels, split.coarse_labels], axis=1), axis=0)
        for fine, coarse in pairs.tolist():
            if superclasses.setdefault(fine, coarse) != coarse:
                found = f"class {release.class_names[fine]!a} in the superclasses {superclasses[fine]} and {coarse}"
                raise _malformed(f"{path}", found)


def _malformed(where: str, found: str) -> UserError:
    return UserError(f"{where}: found {found}; this is not CIFAR-100's format, use an intact copy of the release.")


def write_python_version(release: Release, folder: Path) -> None:
    """Write `train`, `test` and `meta` like those of the official python version; equal data give equal bytes.

    The names of the image files, which a `Release` does not hold, are numbered. Each file is written completely before
    it gets its name.

    Raises:
        UserError: `folder` cannot be written.
    """
    contents = {
        "train": _pickled_split(release.train, "train", "training batch 1 of 1"),
        "test": _pickled_split(release.test, "test", "testing batch 1 of 1"),
        "meta": dump_pickle(
            {"fine_label_names": release.class_names, "coarse_label_names": release.superclass_names},
        ),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_all(contents.items(), folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}); choose another folder.") from error


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


def _write_all(contents: Iterable[tuple[str, bytes]], folder: Path) -> None:
    temporary: list[tuple[Path, Path]] = []
    try:
        for name, content in contents:
            temporary.append((folder / f".{name}.{os.getpid()}", folder / name))
            temporary[-1][0].write_bytes(content)
        for source, target in temporary:
            source.replace(target)
    finally:
        for source, _ in temporary:
            source.unlink(missing_ok=True)
