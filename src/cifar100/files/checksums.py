"""The sha256 of a file, and of files beside which it is recorded in the format of `sha256sum -c`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cifar100.files.atomic import replacing
from cifar100.files.regular import open_regular, read_text


def file_sha256(path: Path) -> str:
    """Return the sha256 of a regular file, in hexadecimal digits.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_file(path: Path) -> Path:
    """Return the path of the file that holds the sha256 of another."""
    return path.with_name(f"{path.name}.sha256")


def known_sums(path: Path) -> set[str]:
    """Return the sums in the file beside another; the empty set if there is no such file."""
    try:
        lines = read_text(sums_file(path), limit=10_000).splitlines()
    except (OSError, ValueError):
        return set()
    return {line.split()[0] for line in lines if line.strip()}


def write_sums(path: Path, sums: set[str]) -> None:
    """Write the sums of a file beside it, durably: several while it is replaced.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(sums_file(path), durable=True) as file:
        file.writelines(f"{digest}  {path.name}\n".encode() for digest in sorted(sums))
