"""A full or read-only disk is one line; other failures keep their traceback."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.training.recovery.full_disk import DISK_ERRORS, full_disk_as_user_error

RUN = RunFolder(Path("logs/student"))


@pytest.mark.parametrize("number", DISK_ERRORS)
def test_a_disk_error_names_the_folder_and_the_command_to_resume(number: int) -> None:
    with (
        pytest.raises(UserError, match=r"logs/student cannot be written .*; make room, then: .* --resume student$"),
        full_disk_as_user_error(RUN),
    ):
        raise OSError(number, os.strerror(number))


def test_another_error_is_raised_as_it_is() -> None:
    with pytest.raises(PermissionError), full_disk_as_user_error(RUN):
        raise PermissionError(errno.EACCES, "not allowed")


def test_threads_report_other_failures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: reported.append(failure.exc_value))

    def fail(error: Exception) -> None:
        raise error

    bug = ZeroDivisionError()
    with full_disk_as_user_error(RUN):
        for error in (OSError(errno.ENOSPC, "full"), bug):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert reported == [bug]
