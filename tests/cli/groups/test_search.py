"""What `sweep` and `trials` print."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cifar100 import commands
from cifar100.cli.groups.search import show_sweep, show_trials
from cifar100.cli.main import run_command_line
from cifar100.errors import UserError
from cifar100.search.sweep.results import Entry, SweepResult
from cifar100.search.trials.summary import Figure, TrialsResult


def test_a_sweep_is_a_table_with_the_best_first_and_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    run = Path("logs/sweeps/a/trial0001")
    best = Entry(
        number=1,
        state="finished",
        accuracy=0.5,
        epochs=2,
        values={"data.batch_size": 64},
        failure="",
        seconds=1.0,
        run=run,
    )
    failed = replace(best, number=0, state="failed", accuracy=None, values={}, failure="it broke\x1b")
    show_sweep(
        SweepResult(
            name="a",
            folder=Path("logs/sweeps/a b"),
            recipe="fast",
            fixed={},
            space={"data.batch_size": "64, 128"},
            trials=[best, failed],
            importances={},
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Trial", "Accuracy", "Epochs", "State", "batch_size"]
    assert lines[1].split() == ["1", "50.00%", "2", "finished", "64"]
    assert "trial 0 failed: it broke\\x1b" in lines
    assert lines[-1] == "  cifar100 train --config 'logs/sweeps/a b/best.yaml'"


def test_trials_are_a_table_and_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    figures = [
        Figure(name="test accuracy", num_trials=3, mean=0.7031, deviation=0.0005, interval=(0.7018, 0.7043)),
        Figure(name="seconds", num_trials=1, mean=595.5, deviation=None, interval=None),
    ]
    lines = [{"run": f"logs/trials/a/seed{seed}", "diverged": seed == 1} for seed in range(3)]
    show_trials(
        TrialsResult(name="a", lines=lines, figures=figures, rule="The rule.", file=Path("a.jsonl"), probabilities=None)
    )
    text = capsys.readouterr().out
    assert "test accuracy 3 70.31% 0.05% 70.18% to 70.43%" in [" ".join(line.split()) for line in text.splitlines()]
    assert "rule:   The rule." in text
    assert text.endswith("\n\nNext:\n  cifar100 report logs/trials/a/seed0 logs/trials/a/seed2\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep"], "missing on the command line: SPACE.yaml"),
        (["sweep", "a", "--workers", "2"], "--name and --workers need the file of a sweep, but 'a' is a name"),
        (["sweep", "a.yaml", "--workers", "0"], "--workers is 0, but it must be a whole number from 1 to 256"),
        (["sweep", "a.yaml"], "a.yaml cannot be read as a sweep"),
        (["sweep", "a.yaml", "--split", "test"], "sweep has no option --split"),
        (["trials", "fast", "--training.seed", "3"], "choose the first with --first-seed"),
        (["trials", "fasd"], "no recipe 'fasd'; did you mean fast"),
        (["trials", "fast", "--folds", "2", "--seeds", "2"], "--seeds and --folds cannot be used together"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run_command_line(arguments)
    assert not any(tmp_path.iterdir())


def test_trials_take_recipe_files_and_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: fast\ndata: {batch_size: 99}\n")
    found: dict[str, object] = {}

    def record(config: object, **options: object) -> TrialsResult:
        found.update(options, config=config)
        return TrialsResult(name="", lines=[], figures=[], rule="", file=Path(), probabilities=None)

    monkeypatch.setattr(commands, "trials", record)
    run_command_line(["trials", "--config", str(file), "--folds", "4", "--optimization.weight_decay", "1e-3"])
    assert found["name"] == "mine-4folds"
    assert found["config"].data.batch_size == 99  # type: ignore[attr-defined]
    assert found["config"].optimization.weight_decay == 1e-3  # type: ignore[attr-defined]
    run_command_line(["trials", "laptop", "--seeds", "2", "--split", "validation"])
    assert (found["name"], found["seeds"], found["split"], found["checkpoint"]) == (None, 2, "validation", "last")
