"""The page of a sweep: everything that was found, whatever its state, and nothing that a name could inject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cifar100.search.sweep.figures import history, importances, slices
from cifar100.search.sweep.page import render
from cifar100.search.sweep.results import Entry, SweepResult

RATE, WIDTHS, RHO = "optimization.learning_rate", "model.widths", "optimization.sam_rho"


def entry(number: int, state: str, accuracy: float | None, **changes: Any) -> Entry:
    values = {RATE: 0.1 * (number + 1), WIDTHS: (8, 8, 8 * (number % 2 + 1))} | changes.pop("values", {})
    given = {"epochs": 2, "failure": "", "seconds": 61.0, "run": Path(f"logs/sweeps/a/trial{number:04d}"), **changes}
    return Entry(number=number, state=state, accuracy=accuracy, values=values, **given)


def result(*trials: Entry, **changes: Any) -> SweepResult:
    given: dict[str, Any] = {
        "name": "a",
        "folder": Path("logs/sweeps/a"),
        "recipe": "quickstart",
        "fixed": {"training.max_epochs": 2.0},
        "space": {RATE: "0.01 to 1, logarithmic", WIDTHS: "[8, 8, 8], [8, 8, 16]", RHO: "0.1 to 0.3"},
        "importances": {RATE: 0.75, WIDTHS: 0.25},
        **changes,
    }
    return SweepResult(trials=list(trials), **given)


@pytest.fixture
def five() -> SweepResult:
    return result(
        entry(3, "finished", 0.42, values={RHO: 0.1}),
        entry(0, "finished", 0.4),
        entry(1, "pruned", 0.1),
        entry(2, "failed", None, failure="the loss is not finite <script>alert(1)</script>", seconds=None),
        entry(4, "waiting", None),
    )


def test_the_page_shows_all_trials(five: SweepResult) -> None:
    page = render(five)
    assert "2 finished, 1 pruned, 1 failed, 1 waiting" in page
    for number in range(5):
        assert f'data-value="{number}">{number}</td>' in page
    assert "42.00&nbsp;%" in page
    assert "cifar100 train --config logs/sweeps/a/best.yaml" in page
    assert "the loss is not finite &lt;script&gt;" in page
    assert "<script>alert" not in page
    for heading in ("History", "Importances", "Slices", "Trials", "Space"):
        assert f"<h2>{heading}" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("trials", [[], [entry(0, "running", None)], [entry(0, "failed", None, failure="no")]])
def test_a_sweep_without_any_accuracy_has_a_page(trials: list[Entry]) -> None:
    page = render(result(*trials, importances={}))
    assert "<h2>Trials</h2>" in page
    assert "<h2>History" not in page
    assert "Best validation accuracy" not in page


def test_the_history_says_the_best(five: SweepResult) -> None:
    drawing = history(five.trials)
    assert drawing is not None
    assert "Validation accuracy of 3 trials; the best has 42.00%" in drawing.svg
    assert drawing.legend == ("finished", "stopped early", "best so far")


def test_importances_are_named(five: SweepResult) -> None:
    drawing = importances(five.importances)
    assert drawing is not None
    assert RATE in drawing.svg
    assert "optimization.learning_rate 75%" in drawing.svg
    assert importances({}) is None


def test_each_setting_has_a_slice_of_the_trials_that_tried_it(five: SweepResult) -> None:
    drawings = slices(five)
    assert [drawing.title for drawing in drawings] == [RATE, WIDTHS, RHO]
    for count, drawing in zip((3, 3, 1), drawings, strict=True):
        assert f"of {count} trials" in drawing.svg
    assert "[8, 8, 16]" in drawings[1].svg
