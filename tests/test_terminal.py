"""No failure of the terminal reaches the program. The child processes write to real pipes, devices and terminals."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from shells import shell as posix_shell

from cifar100 import terminal
from cifar100.terminal import (
    UnfailingStream,
    has_temporary_line,
    report,
    say,
    say_next,
    show,
    take_over_temporary_line,
    temporary_line,
    warn,
)

TEN_LINES = """
from cifar100.terminal import say, warn, unfailing_streams
import sys
with unfailing_streams():
    for number in range(10):
        say(f"line {number} \\u732b")
        warn("naïve")
        print("from elsewhere", number)
    open(sys.argv[1], "w").write("done")
    sys.exit(7)
"""


def run_program(tmp_path: Path, shell: str, **environment: str) -> tuple[subprocess.CompletedProcess[bytes], bool]:
    """Run a program that prints, within a shell command with the place `PROGRAM`; also whether it ended."""
    program, done = tmp_path / "program.py", tmp_path / "done"
    program.write_text(TEN_LINES, encoding="utf-8")
    command = shell.replace("PROGRAM", f"{sys.executable} {program} {done}")
    completed = subprocess.run([posix_shell(), "-c", command], capture_output=True, env={**os.environ, **environment})
    return completed, done.exists()


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
@pytest.mark.parametrize(
    "shell",
    [
        "PROGRAM | head -1 > /dev/null; exit ${PIPESTATUS[0]}",
        "PROGRAM | true; exit ${PIPESTATUS[0]}",
        "PROGRAM > /dev/full",
        "PROGRAM > /dev/full 2>&1",
        "PROGRAM 2> /dev/full",
        "PROGRAM >&-",
        "PROGRAM 2>&-",
        "PROGRAM < /dev/null >&- 2>&-",
    ],
)
def test_an_output_that_is_gone_ends_nothing(shell: str, tmp_path: Path) -> None:
    if "/dev/full" in shell and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    completed, done = run_program(tmp_path, shell)
    assert done
    assert completed.returncode == 7
    assert b"Traceback" not in completed.stderr
    assert b"Exception ignored" not in completed.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16", "utf-8"])
def test_an_encoding_that_lacks_a_character_shows_its_escape(encoding: str, tmp_path: Path) -> None:
    completed, done = run_program(tmp_path, "PROGRAM", PYTHONIOENCODING=encoding)
    assert done
    assert completed.returncode == 7
    shown = completed.stdout.decode(encoding)
    assert ("line 9 猫" if encoding.startswith("utf") else "line 9 \\u732b") in shown


class Failing(io.StringIO):
    """A stream on a terminal that has gone away."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def isatty(self) -> bool:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_has_gone_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Failing())
    monkeypatch.setattr(sys, "stderr", Failing())
    say("line")
    warn("line")
    report("line")
    show("line")
    with terminal.temporary_line("loading"):
        pass
    terminal.console(stderr=True).print("line")


def test_a_failing_stream_of_the_caller_keeps_its_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "dup2", lambda *arguments: replaced.append(arguments))
    UnfailingStream(Failing()).write("line")
    assert replaced == []


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb \x1b[31m")
    warn("c\rd")
    output, errors = capsys.readouterr()
    assert output == "a\\nb \\x1b[31m\n"
    assert errors == "cifar100: c\\rd\n"


def test_a_table_in_a_pipe_is_neither_wrapped_nor_padded_nor_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "text", box=None, pad_edge=False)
    table.add_row("[/b] :cat:", "word " * 30)
    show(table)
    head, row = capsys.readouterr().out.splitlines()
    assert row.startswith("[/b] :cat:")
    assert row.endswith("word")
    assert head == head.rstrip()


def test_no_style_of_a_progress_bar_is_hard_to_read_on_a_white_background() -> None:
    """Rich's own are yellow and cyan."""
    styles = terminal.console().get_style
    for name in ("download", "elapsed", "percentage", "remaining"):
        assert styles(f"progress.{name}").color is None
    assert str(styles("bar.back")) == "bright_black"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "█"), ("ascii", "#"), ("cp1252", "#")])
def test_a_character_that_the_encoding_lacks_is_replaced(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert terminal.drawable("█", instead="#") == shown


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("kind", "shown"), [("xterm-256color", "loading\r\x1b[K"), ("dumb", ""), ("unknown", "")])
def test_a_temporary_line_is_shown_only_where_it_can_be_erased(
    kind: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setattr(sys, "stderr", Screen())
    with terminal.temporary_line("loading"):
        pass
    assert sys.stderr.getvalue() == shown  # type: ignore[attr-defined]


def test_a_command_to_copy_is_one_line_whatever_its_length(capsys: pytest.CaptureFixture[str]) -> None:
    long = f"cifar100 report {' '.join('a' * 100 for _ in range(40))}"
    say_next(long, "cifar100 info")
    say_next("load()", purpose="in Python")
    expected = ["", "Next:", f"  {long}", "  cifar100 info", "", "Next, in Python:", "  load()"]
    assert capsys.readouterr().out.splitlines() == expected


def test_a_temporary_line_gives_way_to_the_first_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with temporary_line("starting ..."):
        warn("first")
        warn("second")
        with temporary_line("reading ..."):
            assert has_temporary_line()
        assert not has_temporary_line()
    erased = "\r\x1b[K"
    lines = f"starting ...{erased}cifar100: first\ncifar100: second\nreading ...{erased}"
    assert capsys.readouterr().err == lines


def test_another_process_erases_the_temporary_line_of_the_one_that_started_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    take_over_temporary_line()
    say("first")
    say("second")
    assert capsys.readouterr() == ("first\nsecond\n", "\r\x1b[K")
