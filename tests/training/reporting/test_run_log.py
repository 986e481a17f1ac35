"""The log of a run."""

from __future__ import annotations

import os
from pathlib import Path

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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(tmp_path / "training.log", enabled=True)
    assert log._file is not None
    log._file.close()
    log._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115, PTH123
    log.tell("a line")
    log.tell("another line")
    log.close()
    output, errors = capsys.readouterr()
    assert output == "a line\nanother line\n"
    assert errors.count("cannot be written (No space left on device); the run continues without it") == 1


@pytest.mark.skipif(os.name != "posix", reason="FIFOs and links")
@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_a_log_that_is_no_file_is_not_written_through(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "training.log"
    (tmp_path / "precious").write_text("precious")
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("precious")
    log = RunLog(path, enabled=True)
    log.tell("a line")
    log.close()
    assert (tmp_path / "precious").read_text() == "precious"
    assert "training.log cannot be written" in capsys.readouterr().err


def test_foreign_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(tmp_path / "training.log", enabled=True)
    log.tell("folder [/b] \x1b]52;c;x\x07 end")
    log.close()
    assert capsys.readouterr().out == "folder [/b] \\x1b]52;c;x\\x07 end\n"
    assert "\x1b" not in (tmp_path / "training.log").read_text()
