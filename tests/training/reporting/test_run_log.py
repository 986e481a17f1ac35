"""The log of a run."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from cifar100.training.reporting.run_log import RunLog, format_seconds, remove_epochs_after


def test_epochs_that_are_done_again_leave_the_log(tmp_path: Path) -> None:
    log = tmp_path / "training.log"
    line = "2026-11-24 10:00:00  epoch {}/9, loss 1.0\n"
    log.write_text("2026-11-24 10:00:00  run logs/x\n" + line.format(1) + line.format(2) + line.format(10)[:-3])
    remove_epochs_after(log, 1)
    assert log.read_text() == "2026-11-24 10:00:00  run logs/x\n" + line.format(1)


def test_a_line_goes_to_the_screen_to_the_file_or_to_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(tmp_path / "training.log", enabled=True)
    log.show("[shown]")
    log.write("written\ntwice")
    log.tell("told")
    log.close()
    assert capsys.readouterr().out == "[shown]\ntold\n"
    lines = (tmp_path / "training.log").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["written", "twice", "told"]


def test_other_ranks_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(tmp_path / "training.log", enabled=False)
    log.tell("told")
    log.close()
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "training.log").exists()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00:00"), (61, "0:01:01"), (36_000, "10:00:00")])
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_failure_to_write_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_is_full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = RunLog(tmp_path / "training.log", enabled=True)
    monkeypatch.setattr("logging.StreamHandler.flush", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        log.write("a line")
    monkeypatch.undo()
    log.close()
