from __future__ import annotations

import time

import pytest
from pseudo_terminal import without_escapes
from rich.console import Console

from cifar100.long_steps import progress
from cifar100.long_steps.columns import bar_beside


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose only element is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Reading", total=30) as advance:
        for _ in range(6):
            clock[0] += 4
            advance(5)
    output = capsys.readouterr()
    assert output.err.splitlines() == [
        *("Reading: 15 of 30, 0:00:12 left", "Reading: 30 of 30, 0:00:00 left", "Reading: 30 in 24.0 s")
    ]
    assert output.out == ""


def test_an_hour_takes_few_lines(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Reading", total=3600) as advance:
        for _ in range(3600):
            clock[0] += 1
            advance(1)
    assert 20 < len(capsys.readouterr().err.splitlines()) < 60


def test_a_transient_step_reports_only_a_long_wait(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress("evaluating", total=30, transient=True) as advance:
        clock[0] += 5
        advance(30)
    assert capsys.readouterr().err == ""
    with progress("evaluating", total=30, transient=True) as advance:
        clock[0] += 11
        advance(20)
        advance(10)
    assert capsys.readouterr().err == "evaluating: 20 of 30, 0:00:06 left\n"


def test_bytes_are_shown_in_megabytes_from_where_they_resume(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("archive", total=169_000_000, start=50_000_000, unit="bytes") as advance:
        clock[0] += 11
        advance(19_000_000)
        advance(100_000_000)
    assert capsys.readouterr().err.splitlines() == [
        *("archive: 69 MB of 169 MB, 0:00:58 left", "archive: 169 MB in 11.0 s")
    ]


def test_a_step_that_fails_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), progress("Reading", total=2) as advance:
        advance(1 // 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("unit", "shown"), [("images", "2,000,000 of 2,000,000"), ("bytes", "2.0/2.0 MB")])
def test_a_terminal_gets_a_bar(
    unit: str, shown: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with progress("Reading", total=2_000_000, start=500_000, unit=unit) as advance:
        advance(1_500_000)
    output = capfd.readouterr()
    assert shown in output.err
    assert output.out == ""


@pytest.mark.parametrize(("steps", "text"), [(4, "40 of 100 0:01:00 left"), (10, "100 of 100 took 0:01:40")])
def test_a_bar_says_what_its_time_is(
    steps: int, text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    now = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with progress("Reading", total=100) as advance:
        for _ in range(steps):
            now[0] += 10
            advance(10)
    assert text in without_escapes(capfd.readouterr().err)


@pytest.mark.parametrize(("columns", "expected"), [(200, 40), (80, 15), (40, 8)])
def test_a_bar_leaves_room_for_the_text_beside_it(columns: int, expected: int) -> None:
    assert bar_beside(65, Console(width=columns)).bar_width == expected


def test_a_terminal_that_cannot_redraw_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    with progress("Reading", total=2) as advance:
        advance(2)
    output = capfd.readouterr().err
    assert output.startswith("Reading: 2 in ")
    assert "\x1b" not in output
