"""The paths that a person gives: an option, an argument, a setting."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from shlex import quote

from cifar100.errors import UserError


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return the path with `~` and `~name` replaced by the home folder. Every path of a person goes through here.

    Raises:
        UserError: it is empty or no path, or there is no such user.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(path, bytes):
        raise UserError(f"a path is expected, not {type(path).__name__}; pass text or a pathlib.Path.")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise UserError(f"{text[:80]!r} is not a path; pass the name of a file or a folder.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"the path {text[:200]} names the home folder of a user that does not exist.") from None


def from_here(path: Path) -> Path:
    """Return a path relative to the working directory if it is below it, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def as_argument(path: PurePath) -> str:
    """Return a path as an argument of a command to copy, with `/` on Windows as well.

    Windows takes both, but not each of its shells leaves `\\` as it is, or knows the quotes that it would need.
    """
    return quote(path.as_posix())
