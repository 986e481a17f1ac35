"""Write files so that only complete files ever get their name."""

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
    """Yield a file to write to; it replaces `path` if the block succeeds, and is removed otherwise.

    durable: wait until the content is on disk before the rename, so that a power failure cannot leave an empty file.
    This takes milliseconds; use it for files that cannot be created again.
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
    """Wait until the names in a folder are on disk; Windows has no such call."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a complete file or none."""
    with replacing(path) as file:
        file.write(content)


def write_json(content: Any, path: Path) -> None:
    """Write a JSON file that is complete at every moment, and on disk on return.

    Raises:
        UserError: the disk is full or the folder is read-only; an existing file is kept.
    """
    try:
        with replacing(path, durable=True) as file:
            file.write((json.dumps(content, indent=2, allow_nan=True) + "\n").encode())
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); free some space or change its permissions."
        ) from error


@contextmanager
def writing_below(root: Path) -> Iterator[None]:
    """Turn an `OSError`, such as a full disk or a read-only folder, into a `UserError`."""
    try:
        yield
    except OSError as error:
        where, reason = error.filename or root, error.strerror or error
        fix = "free some space or choose another folder, then run the same command again"
        raise UserError(f"{where} cannot be written ({reason}); {fix}.") from error


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files of killed processes."""
    for file in folder.glob(f".*{_SUFFIX}"):
        file.unlink(missing_ok=True)
