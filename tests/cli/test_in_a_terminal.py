"""The commands in a terminal of 80 and 120 columns, without colour, without Unicode, and through a pipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pseudo_terminal import ESCAPES, in_terminal, without_escapes

from cifar100 import list_models
from cifar100.cli.main import COMMANDS, build_parser, overview

QUICK = ([], ["recipes"], ["models"], ["runs"], ["evaluate", "--help"], ["nonsense"])
"""Commands that need no torch."""

COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;]*m")


def test_the_overview_fits_into_80_columns() -> None:
    assert max(map(len, overview().splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_fits_into_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = build_parser(name).format_help().splitlines()
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_lines_fit_into_the_terminal(arguments: list[str], columns: int, tmp_path: Path) -> None:
    shown = without_escapes(in_terminal(arguments, tmp_path, columns=columns))
    assert shown
    lines = [line.rstrip() for line in shown.splitlines() if not line.startswith("cifar100: ")]  # messages are one line
    paths = (str(tmp_path), "cifar100 ")
    assert [line for line in lines if len(line) > columns and not any(path in line for path in paths)] == []


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_no_colour_where_none_is_wanted(arguments: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    shown = in_terminal(arguments, tmp_path, **environment)
    assert not COLOUR.search(shown)
    if environment.get("TERM") == "dumb":
        assert not ESCAPES.search(shown)


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_a_pipe_without_unicode_gets_plain_text(arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "", "TERM": "xterm"}
    environment.pop("FORCE_COLOR")
    program = [sys.executable, "-m", "cifar100", *arguments]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True)
    for stream in (done.stdout, done.stderr):
        text = stream.decode("ascii").replace(os.linesep, "\n")
        assert "\x1b" not in text
        assert "\\u" not in text
        assert not re.search(r"[^\S\n]+$", text, re.MULTILINE)


def test_models_shows_the_whole_name_of_every_network(tmp_path: Path) -> None:
    shown = without_escapes(in_terminal(["models"], tmp_path, columns=80))
    assert {line.split()[0] for line in shown.splitlines() if line.strip()} >= {model.name for model in list_models()}


def test_runs_shows_the_whole_name_of_a_run(tmp_path: Path) -> None:
    name = "baseline_with_a_larger_learning_rate_and_without_cutout_or_mixup_seed_12345"
    (tmp_path / "logs" / name).mkdir(parents=True)
    (tmp_path / "logs" / name / "config.yaml").write_text("recipe: quickstart\n")
    shown = without_escapes(in_terminal(["runs"], tmp_path, columns=80))
    assert "\u2026" not in shown
    assert name in "".join(line.split(" ")[0] for line in shown.splitlines())
