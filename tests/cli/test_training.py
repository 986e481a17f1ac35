"""`find-lr`, `train`, `runs` and `recipes`: how options become settings, and what is printed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cifar100 import commands
from cifar100.cli.main import run_command_line
from cifar100.cli.training import format_age
from cifar100.errors import UserError
from cifar100.settings import recipe_names

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """What `train` and `find_lr` are called with; neither runs."""
    found: Calls = []
    monkeypatch.chdir(tmp_path)
    for name in ("train", "find_lr"):
        monkeypatch.setattr(commands, name, lambda *args, **options: found.append((args, options)))
    return found


@pytest.mark.parametrize("command", ["train", "find-lr"])
def test_the_command_line_goes_before_files_and_files_before_the_recipe(command: str, calls: Calls) -> None:
    Path("mine.yaml").write_text("data: {batch_size: 7}\ntraining: {max_epochs: 7, seed: 7}\n")
    Path("more.yaml").write_text("training: {max_epochs: 8}\n")
    arguments = ["--recipe", "quickstart", "--config", "mine.yaml", "--config", "more.yaml", "--training.seed", "9"]
    run_command_line([command, *arguments, "--experiment", "name"])
    ((config,), options) = calls[0]
    assert options == {"experiment": "name"}
    assert (config.recipe, config.data.source) == ("quickstart", "generated")
    assert (config.data.batch_size, config.training.max_epochs, config.training.seed) == (7, 8, 9)


def test_resume_takes_changes_alone(calls: Calls) -> None:
    run_command_line(["train", "--resume", "logs/x", "--training.max_epochs", "12"])
    assert calls == [((), {"resume": "logs/x", "changes": {"training.max_epochs": "12"}})]
    for more in (["--recipe", "fast"], ["--config", "a.yaml"], ["--experiment", "y"]):
        with pytest.raises(UserError, match="--resume continues in the run's own folder with its own settings; remove"):
            run_command_line(["train", "--resume", "logs/x", *more])
    assert len(calls) == 1


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["recipes"])
    shown = capsys.readouterr().out
    for name in recipe_names():
        assert f"\n{name} " in shown
    assert shown.endswith("Use one: cifar100 train --recipe NAME\n")


def test_runs_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cifar100.runs.listing import RunSummary

    monkeypatch.chdir(tmp_path)
    run_command_line(["runs"])
    assert capsys.readouterr().out.startswith(f"no runs below {tmp_path / 'logs'}; make one: cifar100 train")
    run = RunSummary(
        name="first",
        recipe="fast",
        data="CIFAR-100",
        epochs=3,
        best=0.625,
        status="finished",
        message="",
        updated=datetime.now(UTC) - timedelta(hours=5),
    )
    monkeypatch.setattr(commands, "list_runs", lambda: [run])
    run_command_line(["runs"])
    heads, line = capsys.readouterr().out.splitlines()
    assert heads.split() == ["run", "recipe", "data", "epochs", "best", "val", "status", "age"]
    assert line.split() == ["first", "fast", "CIFAR-100", "3", "62.50%", "finished", "5", "h"]


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (timedelta(seconds=-3), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=61), "1 h"),
        (timedelta(minutes=59), "59 min"),
        (timedelta(days=3, hours=20), "3 d"),
    ],
)
def test_an_age_has_the_largest_unit(age: timedelta, shown: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert format_age(now - age, now=now) == shown
    assert format_age(None) == ""
