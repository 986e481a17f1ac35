"""The page of a sweep: everything that was found, whatever its state, and nothing that a name could inject."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cifar100.search.sweep.figures import are_crowded, history, importances, slices
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


def test_a_value_with_dollar_signs_is_no_formula() -> None:
    trials = [entry(number, "finished", 0.4, values={WIDTHS: text}) for number, text in enumerate((r"a$\x$b", "$c"))]
    (drawing,) = slices(result(*trials, space={WIDTHS: "texts"}))
    assert tick_labels(drawing.svg) == ["$c", r"a$\x$b"]


def test_a_finished_trial_without_an_accuracy_is_not_the_best() -> None:
    lost = entry(0, "finished", None)
    assert result(entry(1, "finished", 0.4), lost).best == entry(1, "finished", 0.4)
    assert result(lost).best is None
    assert "1 finished" in render(result(lost))


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
    assert drawing.keys() == [("finished", 0, "disc"), ("pruned", 1, "ring"), ("best so far", 2, "line")]


@pytest.mark.parametrize(
    ("trials", "names"),
    [
        ([entry(0, "finished", 0.4)], ["finished"]),
        ([entry(0, "finished", 0.4), entry(1, "finished", 0.3)], ["finished", "best so far"]),
        ([entry(0, "pruned", 0.1)], ["pruned"]),
        ([entry(0, "running", 0.1), entry(1, "pruned", 0.1)], ["not finished"]),
    ],
)
def test_the_legend_has_what_is_drawn(trials: list[Entry], names: list[str]) -> None:
    drawing = history(trials)
    assert drawing is not None
    assert list(drawing.legend) == names
    marks = render(result(*trials)).partition('<section id="history">')[2].partition("</ul>")[0]
    assert marks.count("<circle") == len(names) - ("best so far" in names)
    assert marks.count("<line") == ("best so far" in names)


def tick_labels(svg: str) -> list[str]:
    """The labels of the horizontal axis: matplotlib groups each tick as `xtick_N`."""
    return re.findall(r"<g id=\"[^\"]*-xtick_\d+\".*?<text[^>]*>([^<]*)</text>", svg, re.DOTALL)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([128, 256, 512, 1024], "128 to 1024"),
        ([0.11, 0.13, 0.18], "0.1 to 0.2, logarithmic"),
        ([0.0001, 0.003, 0.07], "0.0001 to 0.1, logarithmic"),
        ([0.011, 0.02, 0.3], "0.01 to 0.5, logarithmic"),
        ([0.00021, 0.00034, 0.00067], "0 to 0.001"),
    ],
)
def test_an_axis_of_numbers_has_a_few_labels(values: list[float], words: str) -> None:
    trials = [entry(number, "finished", 0.4, values={RATE: value}) for number, value in enumerate(values)]
    (drawing,) = slices(result(*trials, space={RATE: words}))
    labels = tick_labels(drawing.svg)
    assert 2 <= len(labels) <= 7, labels
    assert len("".join(labels)) * 6 < 0.8 * 360
    assert all("." not in label for label in labels) or not all(isinstance(value, int) for value in values)


def test_labels_that_would_overlap_are_slanted_and_shortened() -> None:
    lists = [tuple([64] * count) for count in range(4, 9)]
    trials = [entry(number, "finished", 0.4, values={WIDTHS: value}) for number, value in enumerate(lists)]
    assert are_crowded([str(list(value)) for value in lists])
    (crowded,) = slices(result(*trials, space={WIDTHS: "lists"}))
    assert "rotate(-35" in crowded.svg
    labels = tick_labels(crowded.svg)
    assert len(labels) == 5
    assert max(map(len, labels)) <= 24
    assert not are_crowded(["sgd", "adamw", "muon"])
    few = [entry(number, "finished", 0.4, values={WIDTHS: (8, number)}) for number in range(2)]
    (roomy,) = slices(result(*few, space={WIDTHS: "lists"}))
    assert "rotate(-35" not in roomy.svg


def test_a_long_name_may_break_after_an_underscore_or_its_section() -> None:
    name = "augmentation.random_erasing_probability"
    best = entry(0, "finished", 0.4, values={name: 0.25})
    page = render(result(best, space={name: "0 to 0.5"}, fixed={"training.limit_train_batches": 3}))
    assert "<dt>augmentation.<wbr>random_<wbr>erasing_<wbr>probability</dt>" in page
    assert "<dt>training.<wbr>limit_<wbr>train_<wbr>batches</dt>" in page
    assert '<div class="name">random_<wbr>erasing_<wbr>probability</div>' in page


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
