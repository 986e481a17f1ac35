"""Report that the run folder cannot be written as the user's mistake that it is."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder, how_to_resume

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)
"""No space left, quota exceeded, read-only file system, file too large, failing disk, stale network file.

A write to an open file raises them without the name of the file."""


@contextmanager
def write_failures_as_user_errors(run: RunFolder) -> Iterator[None]:
    """Turn an `OSError` of the disk or of a file in the run folder into a `UserError`; others keep their traceback.

    Some loggers write in threads of their own. Their failures are raised in the main thread as well, so the report of
    such a thread is suppressed.
    """
    report = threading.excepthook

    def report_others(failure: threading.ExceptHookArgs) -> None:
        if not _is_write_failure(failure.exc_value, run):
            report(failure)

    threading.excepthook = report_others
    try:
        yield
    except OSError as error:
        if not _is_write_failure(error, run):
            raise
        fix = "free some space there or make it writable"
        if not run.path.is_dir():
            fix = "it was removed or renamed; put it back"
        raise UserError(
            f"{run.path} cannot be written ({error.strerror or error}); {fix}, then: {how_to_resume(run)}"
        ) from error
    finally:
        threading.excepthook = report


def _is_write_failure(error: BaseException | None, run: RunFolder) -> bool:
    if not isinstance(error, OSError):
        return False
    if isinstance(error.filename, (str, bytes)):
        file = error.filename if isinstance(error.filename, str) else error.filename.decode(errors="replace")
        return Path(file).absolute().is_relative_to(run.path.absolute())
    return error.errno in DISK_ERRORS
