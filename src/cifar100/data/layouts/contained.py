"""Labelled images inside of a file, such as parquet or .npz: what is common to these formats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cifar100.data.layouts.class_folders import PARTS, Part
from cifar100.data.layouts.files_below import is_folder, visible
from cifar100.errors import UserError


class ContainedImage(NamedTuple):
    """An image in a file of many."""

    place: str
    """File and row, for messages."""
    content: bytes | NDArray[np.uint8]
    """An image file; or pixels (H, W), (H, W, 3) RGB or (H, W, 4) RGBA."""
    label: str
    """A name or a number."""
    name: str = ""
    """Name of the class, if `label` is its number."""
    superclass: str = ""
    superclass_name: str = ""


class Container(Protocol):
    """Files that hold labelled images."""

    @property
    def found(self) -> str:
        """What they are, as a phrase."""

    @property
    def files(self) -> Sequence[Path]:
        """The files."""

    @property
    def counts(self) -> Mapping[Part, int]:
        """Number of images of each split."""

    def images(self, part: Part) -> Iterator[ContainedImage]:
        """Yield the images of a split, in memory that does not grow with their number.

        Raises:
            UserError: the files are damaged, or hold something else.
        """


def container_files(path: Path, suffix: str) -> list[Path]:
    """Return the files of a suffix: `path` itself, or those in the folder `path` and its folders, in natural order."""
    if not path.is_dir():
        return [path] if path.suffix.lower() == suffix and path.is_file() else []
    found = []
    for entry in visible(path):
        if is_folder(entry):
            found += [Path(inner.path) for inner in visible(Path(entry.path), suffix=suffix)]
        elif entry.name.lower().endswith(suffix):
            found.append(Path(entry.path))
    return found


def files_of_parts(files: Sequence[Path], *, below: Path) -> dict[Part, list[Path]]:
    """Return the files of each split by the beginning of their names, such as `train-00000-of-00001.parquet`.

    If that tells no split, the folder of the file does, such as `test/0000.parquet`. All are training images if no name
    tells the split.

    below: the folder in which the files were found, whose own name does not count.

    Raises:
        UserError: some names tell a split, and others do not.
    """
    named: dict[Path, Part | None] = {
        file: _part_of(file.name) or (_part_of(file.parent.name) if file.parent != below else None) for file in files
    }
    if not any(named.values()):
        return {"train": list(files)}
    unnamed = [file for file, part in named.items() if part is None]
    if unnamed:
        raise UserError(f"{unnamed[0]} has no split in its name, but others have; expected train, val or test first.")
    parts: tuple[Part, ...] = ("train", "validation", "test")
    return {part: [file for file in files if named[file] == part] for part in parts if part in named.values()}


def label_text(value: Any, place: str) -> str:
    """Return a label as text.

    Raises:
        UserError: it is missing, or neither text nor a whole number.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, bool):
        return str(value).lower()
    raise UserError(f"{place}: the label is {str(value)[:40] or 'empty'!r}, expected a name or a whole number.")


def _part_of(name: str) -> Part | None:
    start = re.match(r"[a-z]+", name.lower())
    return PARTS.get(start[0]) if start else None
