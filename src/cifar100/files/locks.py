"""Exclusive locks between processes, on files that the operating system unlocks when their process ends."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cifar100.errors import UserError
from cifar100.files.atomic import what_to_do, write_json
from cifar100.files.regular import open_regular, read_json
from cifar100.terminal import warn

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What a file system without locks answers, such as a network file system without a lock server."""

_SECONDS_BETWEEN_TRIES = 0.2


@contextmanager
def holding(path: Path, *, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` while the block runs. Its folder must exist.

    On a file system without locks a warning says so, and the block runs without one.

    Args:
        path: the lock file. Beside it `<name>.owner` says which process holds it.
        what: what the lock protects, for the messages.
        wait: wait for another process that holds the lock, and say so once, instead of refusing.

    Raises:
        UserError: another process holds it; the message names its process id. Or the lock file cannot be created.
    """
    lock = FileLock(path)
    owner = path.with_name(f"{path.name}.owner")
    try:
        is_locked = _acquire(lock, owner, what=what, wait=wait)
        if is_locked:
            with suppress(UserError):  # only messages need it
                write_json({"pid": os.getpid(), "host": socket.gethostname()}, owner)
    except BaseException:
        lock.release()
        raise
    try:
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock file `path`; False if that cannot be found out.

    On POSIX systems it is enough to be allowed to read the file, which may be that of another user, and several
    processes can look at the same time.
    """
    if not path.is_file():
        return False
    if sys.platform == "win32":
        try:
            with FileLock(path, timeout=0, is_singleton=False):
                return False
        except Timeout:
            return True
        except OSError:  # a read-only folder, or no locks
            return False
    import fcntl  # POSIX only

    try:
        with open_regular(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it may not be read, or the file system has no locks
        return False
    return False


def _acquire(lock: FileLock, owner: Path, *, what: str, wait: bool) -> bool:
    """Return True with the lock held, or False on a file system without locks."""
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            holder = _describe(owner)
            if not wait:
                raise UserError(f"{what} is in use by {holder}; wait for it, or stop it with Ctrl-C there.") from error
            warn(f"{what} is in use by {holder}; waiting for it.")
            lock.acquire(poll_interval=_SECONDS_BETWEEN_TRIES)
    except NotImplementedError:
        return _warn_without_lock(what)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return _warn_without_lock(what)
        reason = error.strerror or error
        raise UserError(f"the lock {lock.lock_file} cannot be taken ({reason}); {what_to_do(error)}.") from error
    return True


def _warn_without_lock(what: str) -> bool:
    warn(f"the file system of {what} has no locks; make sure that no other process uses it at the same time.")
    return False


def _describe(owner: Path) -> str:
    try:
        content = read_json(owner, limit=10_000)
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        return "another process"
    return f"process {content.get('pid', '?')} on {content.get('host', 'this machine')}"
