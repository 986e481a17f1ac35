"""What `status.json` says about a run, and the lock of its folder."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from cifar100.errors import Diverged, Stopped, UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.status import occupied, read_status, write_status


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_run_is_running_and_then_finished(run: RunFolder) -> None:
    with occupied(run):
        inside = read_status(run)
    after = read_status(run)
    assert (inside["status"], inside["pid"], inside["host"]) == ("running", os.getpid(), socket.gethostname())
    assert after["status"] == "finished"
    assert after["started"] == inside["started"] <= after["updated"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Stopped("saved", 15), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (Diverged("not\n finite"), "diverged"),
        (UserError("no"), "failed"),
        (ZeroDivisionError("bug"), "failed"),
    ],
)
def test_the_end_of_a_run_is_recorded(error: BaseException, status: str, run: RunFolder) -> None:
    with pytest.raises(type(error)), occupied(run):
        raise error
    assert read_status(run)["status"] == status
    assert read_status(run)["message"] == " ".join(str(error).split())


def test_a_second_process_is_refused(run: RunFolder) -> None:
    with occupied(run), pytest.raises(UserError, match=rf"in use by process {os.getpid()} on "), occupied(run):
        pass
    with occupied(run):  # the lock was released
        pass


def test_a_running_run_without_a_lock_was_killed_on_this_machine(run: RunFolder) -> None:
    write_status(run, "running")
    assert read_status(run)["status"] == "killed"
    elsewhere = {**read_status(run), "status": "running", "host": "elsewhere"}
    run.status.write_text(json.dumps(elsewhere))
    assert read_status(run)["status"] == "running"


@pytest.mark.parametrize("text", ["", "[]", '"running"', "{", "[" * 100_000])
def test_a_damaged_status_is_empty(text: str, run: RunFolder) -> None:
    run.status.write_text(text)
    assert read_status(run) == {}


def test_a_status_that_cannot_be_written_at_the_end_fails_no_run(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with occupied(run):
        run.status.unlink()
        run.status.mkdir()
    assert "status.json cannot be written" in capsys.readouterr().err
