"""Report a full or read-only disk as the user's mistake that it is."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cifar100.environment import this_program
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No space left, quota exceeded, read-only file system."""


@contextmanager
def full_disk_as_user_error(run: RunFolder) -> Iterator[None]:
    """Turn a full or read-only disk into a `UserError`; other failures keep their traceback.

    TensorBoard writes in its own thread. Its failures are raised here as well, so the thread's report is suppressed.
    """
    report = threading.excepthook

    def report_others(failure: threading.ExceptHookArgs) -> None:
        if getattr(failure.exc_value, "errno", None) not in DISK_ERRORS:
            report(failure)

    threading.excepthook = report_others
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        resume = f"{this_program()} train --resume {run.argument}"
        raise UserError(f"{run.path} cannot be written ({error.strerror}); make room, then: {resume}") from error
    finally:
        threading.excepthook = report
