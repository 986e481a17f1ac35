"""A full or read-only disk is one line; other failures keep their traceback."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.training.recovery.write_failures import DISK_ERRORS, write_failures_as_user_errors

RUN = RunFolder(Path("logs/student"))


@pytest.fixture(autouse=True)
def in_a_folder_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RUN.path.mkdir(parents=True)


@pytest.mark.parametrize("number", DISK_ERRORS)
def test_a_disk_error_names_the_folder_and_the_command_to_resume(number: int) -> None:
    with (
        pytest.raises(
            UserError,
            match=r"logs.student cannot be written .*; free some space .*, then: .* --resume student$",
        ),
        write_failures_as_user_errors(RUN),
    ):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_file_of_the_run_that_cannot_be_written_is_one_line(number: int, absolute: bool) -> None:
    file = RUN.metrics.absolute() if absolute else RUN.metrics
    with pytest.raises(UserError, match=r"logs.student cannot be written"), write_failures_as_user_errors(RUN):
        raise OSError(number, os.strerror(number), str(file))


def test_a_folder_that_was_removed_is_named() -> None:
    RUN.path.rmdir()
    with pytest.raises(UserError, match="was removed or renamed; put it back"), write_failures_as_user_errors(RUN):
        RUN.metrics.touch()


@pytest.mark.parametrize("file", [None, "/usr/lib/package.py", "logs/other/metrics.json"])
def test_another_error_is_raised_as_it_is(file: str | None) -> None:
    with pytest.raises(PermissionError), write_failures_as_user_errors(RUN):
        raise PermissionError(errno.EACCES, "not allowed", file)


def test_threads_report_other_failures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: reported.append(failure.exc_value))

    def fail(error: Exception) -> None:
        raise error

    bug = ZeroDivisionError()
    with write_failures_as_user_errors(RUN):
        for error in (OSError(errno.ENOSPC, "full"), bug):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert reported == [bug]
