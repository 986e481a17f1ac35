"""Write a folder that is complete or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar100.errors import UserError
from cifar100.files.atomic import partial_path, what_to_do


@contextmanager
def new_folder(path: Path, *, option: str) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `path` if the block succeeds, and is removed otherwise.

    option: of the command line, for messages.

    Raises:
        UserError: there is something already other than an empty folder, or it cannot be written.
    """
    check_is_new(path, option=option)
    partial = partial_path(path.absolute())
    try:
        partial.mkdir(parents=True)
        yield partial
        if path.is_dir() and not path.is_symlink():  # an empty folder; Windows does not replace it
            path.rmdir()
        partial.rename(path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(
                f"{path} cannot be written ({error.strerror or error}); {what_to_do(error)}, or choose another "
                f"folder for {option}."
            ) from error
        raise


def check_is_new(path: Path, *, option: str) -> None:
    """Refuse a path at which there is something other than an empty folder.

    Raises:
        UserError: says what to do.
    """
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} already exists and is never overwritten; remove it, or choose another {option}.")
