"""Open regular files, and read them up to a size.

A FIFO, a device or a folder instead of a file would block, never end, or act; a file can be larger than memory.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, Literal

from cifar100.foreign_text import printable

MAX_JSON_BYTES = 24 * 2**20
"""Maximum size of a JSON file; the metrics of 60,000 epochs. In memory, JSON takes up to 40 times the space."""


_KINDS = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "FIFO"), (stat.S_ISSOCK, "socket"))


def why_not(expected: Literal["regular file", "folder"], path: Path) -> str:
    """Return what is wrong with a path, such as `is not a regular file (a FIFO)`. Follows links.

    Empty if `path` is what is expected, or if nothing is there.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # like os.readlink, which gives the text of the link
    except OSError as error:
        if error.errno == errno.ENOENT and path.is_symlink():
            return f"is a link to {printable(os.readlink(path))}, which does not exist"  # noqa: PTH115
        if error.errno == errno.ELOOP:
            return f"is not a {expected} (a link that leads to itself)"
        nothing = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
        return "" if error.errno in nothing else f"cannot be read ({error.strerror})"
    if (stat.S_ISREG if expected == "regular file" else stat.S_ISDIR)(mode):
        return ""
    found = next((name for is_kind, name in _KINDS if is_kind(mode)), "device")
    return f"is a {found}, expected a folder" if expected == "folder" else f"is not a regular file (a {found})"


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, through links.

    Raises:
        OSError: it cannot be opened, or is not a regular file. Does not wait for the writer of a FIFO.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except PermissionError as error:
        if os.name == "nt" and path.is_dir():  # reported as a missing permission there
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_to_append(path: Path) -> FileIO:
    """Open a regular file to append to; it is created if it is missing.

    Raises:
        OSError: it cannot be opened, or is a link or not a regular file: nothing is written through it.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # each system lacks some
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return FileIO(descriptor, "ab")


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(limit + 1) if size <= limit else b""
    if size > limit or len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit:,} bytes", str(path))
    return content


def read_text(path: Path, *, limit: int) -> str:
    """Return the content of a regular UTF-8 file of at most `limit` bytes.

    Raises:
        OSError: as `read_bytes`.
        ValueError: the file is not UTF-8.
    """
    return read_bytes(path, limit=limit).decode("utf-8")


def read_json(path: Path, *, limit: int = MAX_JSON_BYTES) -> Any:
    """Return the content of a JSON file. `NaN` and `Infinity`, which are not JSON, are read as None.

    Raises:
        OSError: as `read_bytes`.
        ValueError: the file is not JSON, or nested too deeply.
    """
    try:
        return json.loads(read_text(path, limit=limit), parse_constant=lambda name: None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
