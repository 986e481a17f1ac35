"""`audit`: its options, and what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cifar100 import commands
from cifar100.cli.main import build_parser, run_command_line
from cifar100.errors import UserError
from cifar100.results.audit import AuditReport
from cifar100.results.exclusion import Exclusion

REPORT = AuditReport(
    root=Path("my data"),
    data="CIFAR-100, official",
    num_train=50_000,
    num_test=10_000,
    counts={"exact_duplicate": 26, "near_duplicate": 2016, "label": 3905, "oddity": 12},
    labels="Not examined.",
    table=Path("audit/audit.csv"),
    page=Path("audit/audit.html"),
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    def audit(root: str | None = None, **options: Any) -> AuditReport:
        found.append((root, options))
        return REPORT

    def apply_audit(table: str, root: str) -> Exclusion:
        found.append((table, root))
        rejected = {"train": np.array([3, 4]), "test": np.array([0])}
        return Exclusion(table=Path(table), root=Path(root), num_train=50_000, **rejected)

    monkeypatch.setattr(commands, "audit", audit)
    monkeypatch.setattr(commands, "apply_audit", apply_audit)
    return found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (None, {"run": None, "probabilities": None, "out": None})),
        (["data", "--run", "x", "--out", "y"], ("data", {"run": "x", "probabilities": None, "out": "y"})),
        (["--data.root", "data", "--run", "x"], ("data", {"run": "x", "probabilities": None, "out": None})),
        (["data", "--probabilities", "p.npz"], ("data", {"run": None, "probabilities": "p.npz", "out": None})),
    ],
)
def test_audit_passes_its_options(arguments: list[str], expected: Any, calls: list[Any]) -> None:
    run_command_line(["audit", *arguments])
    assert calls == [expected]


def test_folds_take_the_settings_of_the_recipe_laptop_and_others(calls: list[Any]) -> None:
    run_command_line(["audit", "data", "--folds", "4", "--training.max_minutes", "2"])
    ((root, options),) = calls
    assert (root, options["folds"], options["config"].recipe) == ("data", 4, "laptop")
    assert options["config"].training.max_minutes == 2
    assert "(default: 512)" in " ".join(build_parser("audit").format_help().split())


def test_the_report_says_what_to_do_next(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["audit"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["near-duplicates", "2,016"]
    assert lines[-1] == "  cifar100 audit 'my data' --apply audit/audit.csv"


def test_apply_shows_the_command_that_trains_without_the_rejected(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run_command_line(["audit", "my data", "--apply", "edited.csv"])
    assert calls == [("edited.csv", "my data")]
    assert capsys.readouterr().out.splitlines() == [
        "edited.csv fits the data and rejects 2 of 50,000 training images",
        "it also rejects 1 test image, but evaluate always measures on all test images",
        "",
        "Next, to train without these images:",
        "  cifar100 train --data.root 'my data' --data.exclude edited.csv",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "--data.root", "other"], "ROOT and --data.root both set the data folder"),
        (["--run", "x", "--folds", "3"], "cannot be used together"),
        (["--training.seed", "1"], "--training.seed has no effect with audit without --folds"),
        (["--recipe", "fast"], "--recipe has no effect"),
        (["--apply", "x", "--run", "y"], "--run has no effect with --apply"),
        (["--apply", "x", "--out", "y"], "--out has no effect with --apply"),
        (["--folds", "many"], "--folds"),
    ],
)
def test_options_without_effect_are_refused(arguments: list[str], message: str, calls: list[Any]) -> None:
    with pytest.raises(UserError, match=message):
        run_command_line(["audit", *arguments])
    assert calls == []
