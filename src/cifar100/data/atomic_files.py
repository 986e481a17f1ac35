"""Write files so that a name only ever belongs to a complete file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cifar100.errors import UserError

_SUFFIX = ".partial"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to; it gets its name when the block has ended well, and is removed otherwise."""
    partial = path.with_name(f".{path.name}.{os.getpid()}{_SUFFIX}")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file."""
    with replacing(path) as file:
        file.write(content)


@contextmanager
def writing_below(root: Path) -> Iterator[None]:
    """Turn a full disk and a folder that cannot be written into a `UserError`."""
    try:
        yield
    except OSError as error:
        where, reason = error.filename or root, error.strerror or error
        mend = "make room or choose another folder, then run the same command again"
        raise UserError(f"{where} cannot be written ({reason}); {mend}.") from error


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed process has left of `replacing`."""
    for file in folder.glob(f".*{_SUFFIX}"):
        file.unlink(missing_ok=True)
