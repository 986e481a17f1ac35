"""The learning curves, read back from the drawn lines."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from cifar100.plots.learning_curves import MAX_MARKED_EPOCHS, learning_curves
from cifar100.plots.style import BLUE, RED, render


def epochs(number: int, **more: list[float]) -> list[dict[str, float]]:
    columns = {
        "epoch": [float(epoch + 1) for epoch in range(number)],
        "train/loss": [4.0 / (epoch + 1) for epoch in range(number)],
        "train/accuracy": [0.9 * epoch / number for epoch in range(number)],
        "learning_rate": [0.1] * number,
        **more,
    }
    return [{name: values[epoch] for name, values in columns.items()} for epoch in range(number)]


def validated(number: int) -> list[dict[str, float]]:
    curve = [0.5 - 0.01 * abs(epoch - 3) for epoch in range(number)]
    return epochs(number, **{"val/loss": [2.0] * number, "val/accuracy": curve})


def lines(figure: Any) -> list[dict[str, Any]]:
    """The drawn curves of each plot by their colour, without the mark of the best epoch."""
    return [
        {to_hex(line.get_color()): line for line in axes.lines if line.get_fillstyle() != "none"}
        for axes in figure.axes
    ]


def test_each_curve_has_the_values_of_its_metric() -> None:
    values = validated(6)
    figure = learning_curves(values, title="run")
    loss, accuracy, _ = lines(figure)
    for drawn, colour, name in (
        (loss, BLUE, "train/loss"),
        (loss, RED, "val/loss"),
        (accuracy, BLUE, "train/accuracy"),
        (accuracy, RED, "val/accuracy"),
    ):
        assert drawn[colour].get_xdata() == pytest.approx([epoch["epoch"] for epoch in values])
        assert drawn[colour].get_ydata() == pytest.approx([epoch[name] for epoch in values])
    (rate,) = lines(figure)[2].values()
    assert rate.get_ydata() == pytest.approx([0.1] * 6)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation", "best: 50.00% in epoch 4"]


def test_the_legend_covers_no_curve_and_no_text_overlaps() -> None:
    figure = learning_curves(validated(6), title="run")
    render(figure)  # the layout is computed when it is drawn
    (legend,) = figure.legends
    box = legend.get_window_extent()
    tight = [axes.get_tightbbox() for axes in figure.axes]
    assert not any(box.overlaps(other) for other in tight)
    assert not any(one.overlaps(other) for one in tight for other in tight if one is not other)
    title: Any = figure._suptitle
    assert not any(title.get_window_extent().overlaps(other) for other in tight)
    for axes in figure.axes:
        labels = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(labels))


def test_accuracies_are_percentages_and_epochs_whole_numbers() -> None:
    figure = learning_curves(validated(3), title="run")
    render(figure)
    _, accuracy, _ = figure.axes
    assert {label.get_text()[-1] for label in accuracy.get_yticklabels()} == {"%"}
    ticks = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    assert all(tick.lstrip("\N{MINUS SIGN}").isdigit() for tick in ticks)


@pytest.mark.parametrize("number", [1, 2, MAX_MARKED_EPOCHS, MAX_MARKED_EPOCHS + 1])
def test_few_epochs_have_markers_and_many_a_line(number: int) -> None:
    figure = learning_curves(validated(number), title="run")
    pixels = render(figure)
    loss, *_ = lines(figure)
    assert loss[BLUE].get_marker() == ("o" if number <= MAX_MARKED_EPOCHS else "")
    blue = [int(BLUE[place : place + 2], 16) for place in (1, 3, 5)]
    assert (np.abs(pixels.astype(int) - blue).max(2) <= 2).sum() > 50
    if number == 1:
        assert figure.axes[0].get_ylim() == (0, pytest.approx(5.0))


def test_epochs_without_validation_leave_no_point() -> None:
    values = [
        epoch if epoch["epoch"] % 2 == 0 else {k: v for k, v in epoch.items() if k[:3] != "val"}
        for epoch in validated(6)
    ]
    loss, *_ = lines(learning_curves(values, title="run"))
    assert loss[RED].get_xdata() == pytest.approx([2, 4, 6])
    without = learning_curves(epochs(4), title="run")
    assert RED not in lines(without)[0]
    assert [text.get_text() for text in without.legends[0].get_texts()] == ["training"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("last", [1e6, math.nan, math.inf])
def test_a_divergence_flattens_no_curve(last: float) -> None:
    values = epochs(4)
    values[-1]["train/loss"] = last
    figure = learning_curves(values, title="$run_$")
    render(figure)
    assert figure.axes[0].get_yscale() == ("log" if last == 1e6 else "linear")
    assert len(lines(figure)[0][BLUE].get_xdata()) == (4 if last == 1e6 else 3)


@pytest.mark.filterwarnings("error")
def test_a_run_without_any_finite_loss_says_so() -> None:
    figure = learning_curves(epochs(1, **{"train/loss": [math.nan]}), title="run")
    render(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no finite value"]


def test_the_legend_says_from_which_epoch_the_average_was_validated() -> None:
    values = validated(3)
    values[1]["val/averaged"] = values[2]["val/averaged"] = 1
    (legend,) = learning_curves(values, title="run").legends
    assert legend.get_texts()[1].get_text() == "validation (averaged weights from epoch 2)"


def test_one_epoch_on_a_logarithmic_axis_is_drawn_without_a_warning() -> None:
    epoch = {"epoch": 1, "train/loss": 0.5, "val/loss": 3e14, "train/accuracy": 0.5, "val/accuracy": 0.5}
    figure = learning_curves([{**epoch, "learning_rate": 0.1}], title="x")
    render(figure)
    assert figure.axes[0].get_yscale() == "log"
