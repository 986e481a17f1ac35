"""Write files so that a name only ever belongs to a complete file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cifar100.errors import UserError

_SUFFIX = ".partial"


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Give a file to write to; it gets its name when the block has ended well, and is removed otherwise.

    durable: wait until the content is on the disk before it gets its name, so that not even a power cut leaves an empty
    file. Takes milliseconds; for files that cannot be made again.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{_SUFFIX}")
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; Windows has no such thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file."""
    with replacing(path) as file:
        file.write(content)


def write_json(content: Any, path: Path) -> None:
    """Write a JSON file that is whole at every moment, on the disk when this returns.

    Raises:
        UserError: the disk is full or the folder cannot be written; what was there before is kept.
    """
    try:
        with replacing(path, durable=True) as file:
            file.write((json.dumps(content, indent=2, allow_nan=True) + "\n").encode())
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); free some space or change its rights."
        ) from error


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
