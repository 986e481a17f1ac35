"""The command line: help, exit statuses, one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cifar100 import __version__
from cifar100.cli.main import COMMANDS, main, overview, run_command_line
from cifar100.errors import UserError


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["cifar100", *arguments])
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    return 0


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_command_the_overview_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert shown.strip() == overview()
    for name in ("prepare", "find-lr", "train", "evaluate", "compare", "predict", "recipes", "models", "info"):
        assert f"\n  {name} " in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.startswith(f"usage: cifar100 {name}")


def test_help_shows_the_values_of_the_named_recipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--recipe", "quickstart"], ["--recipe=quickstart"]):
        run("train", *arguments, "--help", monkeypatch=monkeypatch)
        assert "(default: generated)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean train? See cifar100 --help.\n"),
        (["xyz"], "completion. See cifar100 --help.\n"),
        (["train", "--data.batchsize", "3"], "did you mean --data.batch_size?"),
        (["train", "--batch_size", "3"], "did you mean --data.batch_size?"),
        (["train", "--dryrun"], ": train has no option --dryrun; did you mean --dry-run? See cifar100 train --help.\n"),
        (["evaluate", "x", "--flip_tta"], "has no option --flip_tta; did you mean --flip-tta?"),
        (["prepare", "--data.root", "x"], "has no option --data.root; did you mean --root?"),
        (["recipes", "--training.max_epochs", "-3"], ": recipes has no option --training.max_epochs; see"),
        (["recipes", "fast"], ": unexpected argument fast; leave it out, or see cifar100 recipes --help.\n"),
        (["train", "--data.batch_size", "x"], "--data.batch_size is x, but it must be a whole number or auto."),
        (["train", "--recipe", "quick"], "no recipe 'quick'"),
        (["train", "--config", "none.yaml"], "configuration file none.yaml cannot be read"),
        (["train", "--resume", "x"], "no run 'x'"),
        (["train", "--resume", "x", "--experiment", "y"], "--resume continues in the run's own folder"),
        (["train", "--data"], "--data"),
        (["evaluate"], "RUN"),
        (["evaluate", "x"], "no run 'x'"),
        (["evaluate", "x", "--split", "train"], "--split"),
        (["compare"], "RUN"),
        (["compare", "x", "y"], "no run 'x'"),
        (["compare", "x", "y", "--split", "train"], "--split"),
        (["predict", "x"], "IMAGE"),
        (["predict", "x", "a.png", "--top", "many"], "--top"),
        (["recipes", "--all"], ": recipes has no option --all; see cifar100 recipes --help.\n"),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, monkeypatch=monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("cifar100: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cifar100.commands.list_recipes", broken)
    with pytest.raises(ZeroDivisionError):
        run("recipes", monkeypatch=monkeypatch)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == f"cifar100 {__version__}\n"


def test_python_dash_m_is_the_same_program() -> None:
    shown = subprocess.run([sys.executable, "-m", "cifar100", "--help"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == overview()


@pytest.mark.parametrize("value", ["-1e-4", "-1", "-inf"])
def test_a_negative_value_is_a_value(value: str) -> None:
    with pytest.raises(UserError, match=r"--optimization.weight_decay is -.*, but it must be .*at least 0"):
        run_command_line(["train", "--optimization.weight_decay", value])
