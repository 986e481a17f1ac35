"""The figures of a report: curves of the epochs, reliability diagrams, error by coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from markupsafe import Markup

from cifar100.results.calibration import NUM_BINS, Bins, equal_mass_bins, equal_width_bins, risk_coverage
from cifar100.results.report.measured import Measured
from cifar100.results.report.rendering.inline import FOREGROUND, SERIES, curve_style, new_axes, svg
from cifar100.runs.history import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_SCALE_FROM = 1000.0
"""Ratio of the largest to the smallest loss from which the axis is logarithmic, as after a divergence."""

MAX_POINTS = 400
"""Of the curve of error by coverage, which has a point for each image."""

MAX_MARKED_EPOCHS = 30
"""A curve of more points has no markers, which would merge."""

ACCURACY_NAMES = ("train/accuracy", "val/accuracy")

Mark = Literal["line", "disc", "ring"]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of the page with its title and legend, which are HTML and so wrap on a narrow screen."""

    title: str
    svg: Markup
    legend: tuple[str, ...] = ()
    """Names of the curves. Empty for a single one."""
    series: tuple[int, ...] = ()
    """Number of the curve of each name, which sets its colour and dashes. Empty: the position of the name."""
    marks: tuple[Mark, ...] = ()
    """How each curve is drawn. Empty: as lines."""

    def keys(self) -> list[tuple[str, int, Mark]]:
        """Return the entries of the legend: name, number of the curve, mark."""
        series = self.series or tuple(range(len(self.legend)))
        line: Mark = "line"
        marks = self.marks or (line,) * len(self.legend)
        return list(zip(self.legend, series, marks, strict=True))


def training_curves(epochs: Sequence[Epoch]) -> list[Drawing]:
    """Return loss, accuracy and learning rate over the epochs of one run; nothing without epochs."""
    names = {"training": "train", "validation": "val"}
    figures = []
    for name in ("loss", "accuracy"):
        curves = {label: _points(epochs, f"{part}/{name}") for label, part in names.items()}
        figures.append(_curves(name.capitalize(), curves, name=name, is_fraction=name == "accuracy"))
    figures.append(_curves("Learning rate", {"": _points(epochs, "learning_rate")}, name="rate"))
    return [figure for figure in figures if figure is not None]


def compared_curves(runs: Mapping[str, Sequence[Epoch]]) -> list[Drawing]:
    """Return the metrics of several runs, each on one axis; left out if no run has it."""
    titles = {
        "val/accuracy": "Validation accuracy",
        "val/loss": "Validation loss",
        "train/accuracy": "Training accuracy",
        "train/loss": "Training loss",
    }
    figures = [
        _curves(
            title,
            {name: _points(epochs, metric) for name, epochs in runs.items()},
            name=metric.replace("/", "-"),
            is_fraction=metric in ACCURACY_NAMES,
            keeps_empty=True,
        )
        for metric, title in titles.items()
    ]
    return [figure for figure in figures if figure is not None]


def calibration_figures(measured: Measured, *, temperature: float | None) -> list[Drawing]:
    """Return two reliability diagrams, as trained and with a temperature, and the error by coverage."""
    confidences = {"as trained": measured.confidence()}
    if temperature is not None:
        confidences["after temperature scaling"] = measured.confidence(temperature=temperature)
    kinds = {"width": equal_width_bins, "mass": equal_mass_bins}
    figures = []
    for kind, group in kinds.items():
        bins = {label: group(confidence, measured.correct) for label, confidence in confidences.items()}
        figures.append(_reliability(f"Reliability, {NUM_BINS} bins of equal {kind}", bins, name=f"reliability-{kind}"))
    return [*figures, coverage_figure({"": measured})]


def coverage_figure(measured: Mapping[str, Measured]) -> Drawing:
    """Return the error among the most confident images over their fraction, for one run or several."""
    figure, axes = new_axes()
    for index, one in enumerate(measured.values()):
        coverage, risk = risk_coverage(one.confidence(), one.correct)
        chosen = np.unique(np.linspace(0, len(coverage) - 1, MAX_POINTS).round().astype(np.int64))
        axes.plot(coverage[chosen], risk[chosen], linewidth=1.8, **curve_style(index))
    axes.set(xlabel="coverage: fraction of images answered", ylabel="error", xlim=(0, 1.01))
    axes.set_ylim(bottom=0)
    as_percentages(axes, "xy")
    title = "Error by coverage"
    legend = tuple(measured) if len(measured) > 1 else ()
    return Drawing(title=title, svg=svg(figure, name="coverage", description=title), legend=legend)


def _curves(
    title: str,
    curves: Mapping[str, tuple[list[float], list[float]]],
    *,
    name: str,
    is_fraction: bool = False,
    keeps_empty: bool = False,
) -> Drawing | None:
    """Plot curves over the epochs; None if all are empty. keeps_empty: an empty one keeps its colour and its name."""
    from matplotlib.ticker import MaxNLocator

    shown = {label: points for label, points in curves.items() if keeps_empty or points[0]}
    values = [value for _, column in shown.values() for value in column if math.isfinite(value)]
    if not values:
        return None
    figure, axes = new_axes()
    for index, (epochs, column) in enumerate(shown.values()):
        marker = "o" if len(epochs) <= MAX_MARKED_EPOCHS else ""
        axes.plot(epochs, column, linewidth=1.8, marker=marker, markersize=3.5, **curve_style(index))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=7))
    if is_fraction:
        axes.set_ylim(0, min(1.0, 1.08 * max(values)) or 1.0)
        as_percentages(axes, "y")
    elif min(values) > 0 and max(values) > LOG_SCALE_FROM * min(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0.0, *values))
    description = f"{title} by epoch, at the end: " + ", ".join(
        f"{label} {column[-1]:.4g}".strip() for label, (_, column) in shown.items() if column
    )
    legend = tuple(shown) if len(shown) > 1 else ()
    return Drawing(title=title, svg=svg(figure, name=f"curve-{name}", description=description), legend=legend)


def _reliability(title: str, bins: Mapping[str, Bins], *, name: str) -> Drawing:
    figure, axes = new_axes()
    axes.plot([0, 1], [0, 1], color=FOREGROUND, alpha=0.6, linewidth=1, linestyle=(0, (4, 3)))
    for index, each in enumerate(bins.values()):
        sizes = 12 + 70 * each.num_images / each.num_images.sum()
        axes.plot(each.confidence, each.accuracy, linewidth=1.5, **curve_style(index))
        axes.scatter(each.confidence, each.accuracy, s=sizes, color=SERIES[index], zorder=3)
    axes.set(xlabel="confidence: mean probability of the prediction", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.03))
    as_percentages(axes, "xy")
    errors = ", ".join(f"error {each.error:.4f} {label}" for label, each in bins.items())
    legend = tuple(bins) if len(bins) > 1 else ()
    return Drawing(title=title, svg=svg(figure, name=name, description=f"{title}: {errors}"), legend=legend)


def _points(epochs: Sequence[Epoch], metric: str) -> tuple[list[float], list[float]]:
    """Return the epochs that have a metric, and its values; one that is not finite leaves a gap."""
    found = [epoch for epoch in epochs if metric in epoch]
    return [epoch["epoch"] for epoch in found], [epoch[metric] for epoch in found]


def as_percentages(axes: Axes, which: str) -> None:
    """Show the fractions of an axis, `x` or `y`, as percentages."""
    from matplotlib.ticker import FuncFormatter

    for letter in which:
        axis = axes.xaxis if letter == "x" else axes.yaxis
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
