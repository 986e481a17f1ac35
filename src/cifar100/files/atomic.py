"""Write files so that only complete files ever get their name."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from cifar100.errors import UserError

SECONDS_FOR_READERS = 10.0 if os.name == "nt" else 0.0
"""Time to wait for other processes that have a file open: Windows does not replace or rename it meanwhile."""


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Yield a file to write to; it replaces `path` if the block succeeds, and is removed otherwise.

    durable: wait until the content is on disk before the rename, so that a power failure cannot leave an empty file.
    This takes milliseconds; use it for files that cannot be created again.
    """
    partial = partial_path(path)
    try:
        with open_new(partial) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        put_in_place(partial, path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_path(path: Path) -> Path:
    """Return the name of a file or folder that is not complete yet. It names the process that writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_machine()}.partial")


def open_new(path: Path) -> BinaryIO:
    """Create a file for writing. A file, link or FIFO of that name is replaced, never written through."""
    try:
        return path.open("xb")
    except FileExistsError:
        path.unlink()
        return path.open("xb")


def put_in_place(complete: Path, path: Path) -> None:
    """Rename a complete file; an existing file of that name is replaced."""
    ends = time.monotonic() + SECONDS_FOR_READERS
    while True:
        try:
            complete.replace(path)
            return
        except PermissionError as error:
            if os.name == "nt" and path.is_dir():  # reported as a missing permission there
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from error
            if time.monotonic() >= ends:
                raise
        time.sleep(0.05)


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


def json_text(content: Any) -> str:
    """Return strict JSON. A number that is not finite becomes null, because JSON has no other value for it."""
    return json.dumps(_strict(content), indent=2, allow_nan=False) + "\n"


def write_json(content: Any, path: Path) -> None:
    """Write a JSON file that is complete at every moment, and on disk on return.

    Raises:
        UserError: the disk is full or the folder is read-only; an existing file is kept.
    """
    try:
        with replacing(path, durable=True) as file:
            file.write(json_text(content).encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); {what_to_do(error)}.") from error


@contextlib.contextmanager
def writing_below(root: Path) -> Iterator[None]:
    """Turn an `OSError`, such as a full disk or a read-only folder, into a `UserError`."""
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename or root  # a rename names the partial file first
        fix = f"{what_to_do(error)} or choose another folder, then run the same command again"
        raise UserError(f"{where} cannot be written ({error.strerror or error}); {fix}.") from error


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files and folders of processes that have ended; keep those of living ones."""
    for entry in folder.glob(".*.partial"):
        written_by = re.search(r"\.(\d+)-([0-9a-f]{8})\.partial$", entry.name)
        if written_by is None or written_by[2] != _machine() or _is_alive(int(written_by[1])):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # Windows refuses to remove a file that a living process has open
                entry.unlink()


def what_to_do(error: OSError) -> str:
    """Return what a person can do about a failed write."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "change its permissions"
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
        return "move away what is in its place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space"
    return "check the disk and its free space"


@cache
def _machine() -> str:
    """Return what tells this machine, or this container, from others that share a folder with it."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # the target is no path
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


_SYNCHRONIZE, _WAIT_TIMEOUT, _ACCESS_DENIED = 0x0010_0000, 0x102, 5
"""Of Windows: the right to wait for a process, what waiting answers while it runs, and why it cannot be opened."""


def _is_alive(process: int) -> bool:
    """Return whether a process of this machine is running."""
    if sys.platform == "win32":  # os.kill would end it
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(_SYNCHRONIZE, False, ctypes.c_uint32(process)))
        if not handle:
            return ctypes.get_last_error() == _ACCESS_DENIED  # of another user
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT)
        finally:
            kernel.CloseHandle(handle)
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _strict(content: Any) -> Any:
    """Replace every number that is not finite by None."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _strict(value) for key, value in content.items()}
    return [_strict(value) for value in content] if isinstance(content, (list, tuple)) else content
