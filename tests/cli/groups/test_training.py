"""`find-lr`, `train`, `runs`, `recipes` and `models`: how options become settings, and what is printed."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pseudo_terminal import in_terminal, without_escapes

from cifar100 import commands
from cifar100.cli.groups.training import format_age, format_size
from cifar100.cli.main import run_command_line
from cifar100.errors import UserError
from cifar100.models.facts import ModelFacts
from cifar100.settings import recipe_names

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """What `train` and `find_lr` are called with; neither runs. A learning rate is found nevertheless."""
    found: Calls = []
    monkeypatch.chdir(tmp_path)

    def call(*args: Any, **options: Any) -> Any:
        found.append((args, options))
        return SimpleNamespace(learning_rate=0.01234)

    for name in ("train", "find_lr"):
        monkeypatch.setattr(commands, name, call)
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


def test_the_learning_rate_is_suggested_for_the_options_it_was_found_with(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--recipe", "quickstart", "--data.root", "my data", "--data.batch_size=32", "--model.widths", "[8,8,8]"]
    replaced = ["--experiment=range", "--optimization.learning_rate", "0.5", "--experiment", "range"]
    run_command_line(["find-lr", *given, *replaced])
    *_, heading, command = capsys.readouterr().out.splitlines()
    assert heading == "Next:"
    assert command == (
        "  cifar100 train --recipe quickstart --data.root 'my data' --data.batch_size=32 --model.widths '[8,8,8]' "
        "--optimization.learning_rate 0.0123"
    )
    run_command_line(shlex.split(command)[1:])
    ((config,), options) = calls[-1]
    assert (str(config.data.root), config.data.batch_size, options) == ("my data", 32, {"experiment": None})
    assert config.optimization.learning_rate == 0.0123


def test_the_next_command_names_the_launcher(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("RANK", "0")
    run_command_line(["find-lr"])
    expected = "\nNext, started by torchrun as here:\n  cifar100 train --optimization.learning_rate 0.0123\n"
    assert capsys.readouterr().out == expected
    monkeypatch.setenv("RANK", "1")
    run_command_line(["find-lr"])
    assert (capsys.readouterr().out, len(calls)) == ("", 2)


def test_resume_takes_changes_alone(calls: Calls) -> None:
    run_command_line(["train", "--resume", "logs/x", "--training.max_epochs", "12"])
    assert calls == [((), {"resume": "logs/x", "changes": {"training.max_epochs": "12"}})]
    for more in (["--recipe", "fast"], ["--config", "a.yaml"], ["--experiment", "y"]):
        with pytest.raises(UserError, match="--resume continues in the run's own folder with its own settings; leave"):
            run_command_line(["train", "--resume", "logs/x", *more])
    assert len(calls) == 1


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["recipes"])
    shown = capsys.readouterr().out
    for name in recipe_names():
        assert f"\n{name} " in shown
    assert shown.endswith("\n\nNext:\n  cifar100 train --recipe NAME\n")


def test_runs_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cifar100.runs.listing import RunSummary

    monkeypatch.chdir(tmp_path)
    run_command_line(["runs"])
    assert capsys.readouterr().out.startswith(f"no runs in {tmp_path / 'logs'}; start one: cifar100 train")
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
    heads, line, *following = capsys.readouterr().out.splitlines()
    assert following == [
        *("", "Next:", "  cifar100 evaluate RUN", "  cifar100 report RUN", "  cifar100 compare RUN RUN")
    ]
    assert heads.split() == ["Run", "Recipe", "Data", "Epochs", "Best", "val", "Status", "Age"]
    assert line.split() == ["first", "fast", "CIFAR-100", "3", "62.50%", "finished", "5", "h"]


def test_models_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    known = ModelFacts(
        name="net",
        paper="Lee 2020",
        parameters=36_536_884,
        mult_adds=5_243_386_368,
        accuracy=0.8075,
        accuracy_source="table 5",
        images_per_second=1234.6,
        measured_on="one GPU, 2026-11-24",
    )
    monkeypatch.setattr(commands, "list_models", lambda pattern: [known, ModelFacts(name="mine")])
    run_command_line(["models"])
    lines = capsys.readouterr().out.splitlines()
    cells = ["net", "Lee 2020", "36.5 M", "5.24 G", "1,235", "80.75%"]
    assert re.split(r" {2,}", lines[1]) == cells
    assert re.split(r" {2,}", lines[2].strip()) == ["mine", "not stated", "not stated"]
    assert "Images/s: training steps, one GPU, 2026-11-24; empty if not yet measured." in lines
    assert "  net: table 5" in lines
    assert lines[-3:] == ["Next:", "  cifar100 train --model.name NAME", "  cifar100 models 'timm/*lite*'"]


def test_the_models_fit_into_80_columns(tmp_path: Path) -> None:
    shown = without_escapes(in_terminal(["models"], tmp_path))
    row = next(line for line in shown.splitlines() if line.startswith("densenet_bc_100_12"))
    assert row.endswith("  77.73%")  # beside its name, not cut and not wrapped
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "not stated"),
        (800_032, "800,032"),
        (1_995_832, "2.00 M"),
        (287_960_472, "288 M"),
        (999_700_000, "1.00 G"),
    ],
)
def test_a_size_has_three_digits(number: int | None, shown: str) -> None:
    assert format_size(number) == shown


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
