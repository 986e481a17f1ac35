"""Record the size and time of every file that a preparation read or wrote, to see quickly what was touched since.

The record `.prepared` is begun, empty, before anything else is written, and completed last. It therefore also marks a
folder in which a preparation was interrupted. `dataset.json` is recorded as well: its channel statistics are used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cifar100.files.atomic import replacing
from cifar100.files.regular import open_regular

RECORD = ".prepared"

_MAX_LINE = 10_000
"""In bytes; no name of a file is longer."""

Stamp = tuple[int, int]
"""Size in bytes, and time of the last change in nanoseconds."""


def begin_record(root: Path) -> None:
    """Write an empty record: a preparation of this folder has begun."""
    with replacing(root / RECORD):
        pass


def stamps_of(root: Path, names: Iterable[str]) -> dict[str, Stamp]:
    """Return the present size and time of each file, named relative to `root`; a missing file is left out."""
    found = ((name, stamp_of(root, name)) for name in names)
    return {name: stamp for name, stamp in found if stamp is not None}


def write_record(root: Path, stamps: Mapping[str, Stamp]) -> None:
    """Complete the record. The stamps are of the moment before the files were read: a later change is noticed."""
    lines = (f"{size} {time} {name}\n" for name, (size, time) in stamps.items())
    with replacing(root / RECORD) as file:
        file.write("".join(lines).encode("utf-8", "surrogateescape"))


def read_record(root: Path, *, max_files: int) -> dict[str, Stamp]:
    """Return the recorded files in order; empty if there is no valid record of at most `max_files` files."""
    stamps: dict[str, Stamp] = {}
    try:
        with open_regular(root / RECORD) as file:
            while line := file.readline(_MAX_LINE):
                size, time, name = line.decode("utf-8", "surrogateescape").rstrip("\n").split(" ", 2)
                stamps[name] = int(size), int(time)
                if len(stamps) > max_files:
                    return {}
    except (OSError, ValueError):
        return {}
    return stamps


def has_record(root: Path) -> bool:
    """Return whether there is a record, begun or complete, and not another file of that name."""
    try:
        with open_regular(root / RECORD) as file:
            line = file.readline(_MAX_LINE)
    except OSError:
        return False
    return not line or re.fullmatch(rb"\d+ -?\d+ .+\n", line) is not None


def stamp_of(root: Path, name: str) -> Stamp | None:
    """Return the present size and time of a file; None if there is none."""
    try:
        found = os.stat(f"{root}/{name}")  # noqa: PTH116  # Path.stat takes twice as long, which 60,000 files show
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
