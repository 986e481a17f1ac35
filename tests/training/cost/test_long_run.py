from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cifar100 import commands
from cifar100.data.folder.layout import DataFolder
from cifar100.settings import load_config
from cifar100.training.cost import long_run
from cifar100.training.cost.long_run import announce_long_run, estimated_seconds
from cifar100.training.cost.trial import Seconds, Subject, Trial
from cifar100.training.experiment import make_split
from cifar100.training.preflight.custom_parts import CustomParts


def subject(root: Path, recipe: str = "original", **changes: Any) -> Subject:
    given = {"data.root": root, "data.source": "generated", **changes}
    config = load_config(recipe, overrides=given)
    return Subject(config, DataFolder(root).info(), make_split(config), CustomParts())


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two processors, on which a step takes 5 s and its images 2 s."""
    monkeypatch.setattr(Trial, "step", lambda self: Seconds(batch=2.0, compute=5.0))
    monkeypatch.setattr(long_run, "usable_processors", lambda: 2)


@pytest.mark.usefixtures("slow_steps")
def test_the_time_of_the_default_recipe_is_said(tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = subject(tiny_data)
    steps = 500 // 64
    validation = 100 / 64 * (5 / 3 + 1)
    assert estimated_seconds(original) == pytest.approx(50 * (steps * (5 + 2 / 2) + validation))
    announce_long_run(original)
    out = capsys.readouterr().out
    assert out == (
        "original will take about 40 minutes on this CPU (estimated from its first steps); for a run of ten minutes: "
        "cifar100 train --recipe laptop\n"
    )


@pytest.mark.usefixtures("slow_steps")
@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("baseline", {}),
        ("laptop", {}),
        ("original", {"training.max_epochs": 1}),
        ("original", {"training.max_epochs": "null", "training.max_minutes": 100}),
    ],
)
def test_others_begin_without_a_word(
    recipe: str, changes: dict[str, Any], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    announce_long_run(subject(tiny_data, recipe, **changes))
    assert capsys.readouterr().out == ""


def test_it_is_said_before_the_run_begins(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(long_run, "WORTH_SAYING_MINUTES", 0)
    changes = {"training.max_epochs": 1, "training.limit_train_batches": 1, "data.num_workers": 0}
    original = subject(tiny_data, **changes).config
    commands.train(original)
    out = capsys.readouterr().out
    assert out.index("original will take about") < out.index("recipe   original")


@pytest.mark.parametrize(("seconds", "steps"), [(0.01, 1 + long_run.STEPS), (0.4, 3), (0.6, 2), (5.0, 1)])
def test_the_estimate_takes_a_second_and_one_step_at_most(
    seconds: float, steps: int, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, taken = [100.0], []

    def step(trial: Trial) -> Seconds:
        now[0] += seconds
        taken.append(seconds)
        return Seconds(batch=0.0, compute=seconds)

    monkeypatch.setattr(Trial, "step", step)
    monkeypatch.setattr(long_run, "time", SimpleNamespace(monotonic=lambda: now[0]))
    estimated_seconds(subject(tiny_data))
    assert len(taken) == steps
    assert now[0] - 100.0 <= long_run.MAX_SECONDS + seconds


def test_the_estimate_reads_few_images(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = Trial.step

    def step(trial: Trial) -> Seconds:
        read.append(64)
        return original(trial)

    monkeypatch.setattr(Trial, "step", step)
    monkeypatch.setattr(long_run, "MAX_SECONDS", 1000.0)  # however slow this machine is now
    assert estimated_seconds(subject(tiny_data)) > 0
    assert sum(read) == 64 * (1 + long_run.STEPS)
