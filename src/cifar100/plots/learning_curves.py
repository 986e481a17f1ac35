"""The learning curves of a run: loss, accuracy and learning rate over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cifar100.plots.style import BLUE, GREEN, RED, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_MARKED_EPOCHS = 40
"""A curve of more points has no markers, which would merge."""

LOG_SCALE_FROM = 1000.0
"""Ratio of the largest to the smallest loss from which the axis is logarithmic, as after a divergence."""


def learning_curves(epochs: Sequence[Mapping[str, float]], *, title: str) -> Figure:
    """Plot the epochs of a `metrics.json`. Values that are missing or not finite leave gaps.

    epochs: at least one, each with `epoch`, from 1. title: plain text, above the plots.
    """
    figure = new_figure(13, 4.6)
    loss, accuracy, rate = figure.subplots(1, 3)
    averaged = next((epoch["epoch"] for epoch in epochs if "val/averaged" in epoch), None)
    validation = "validation" if averaged is None else f"validation (averaged weights from epoch {averaged:.0f})"
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        _plot(axes, epochs, f"train/{name}", color=BLUE, label="training")
        _plot(axes, epochs, f"val/{name}", color=RED, label=validation)
    _mark_best(accuracy, epochs)
    _plot(rate, epochs, "learning_rate", color=GREEN)
    _scale(loss, accuracy, rate)
    if len(epochs) == 1:
        _enclose_single_points(loss, accuracy, rate, epoch=epochs[0]["epoch"])
    loss.set(title="Loss", ylabel="mean loss of the images")
    accuracy.set(title="Accuracy", ylabel="images classified correctly")
    rate.set(title="Learning rate", ylabel="learning rate in the last step of the epoch")
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


def _plot(axes: Axes, epochs: Sequence[Mapping[str, float]], name: str, *, color: str, label: str = "") -> None:
    """Plot one metric over the epochs that have it, and nothing if none has."""
    points = [(epoch["epoch"], epoch[name]) for epoch in epochs if math.isfinite(epoch.get(name, math.nan))]
    if points:
        marker = "o" if len(points) <= MAX_MARKED_EPOCHS else ""
        axes.plot(*zip(*points, strict=True), color=color, linewidth=2, marker=marker, markersize=4, label=label)


def _mark_best(axes: Axes, epochs: Sequence[Mapping[str, float]]) -> None:
    """Mark the first epoch with the highest validation accuracy, whose weights are in `best.ckpt`."""
    validated = [epoch for epoch in epochs if math.isfinite(epoch.get("val/accuracy", math.nan))]
    if validated:
        best = max(validated, key=lambda epoch: epoch["val/accuracy"])
        label = f"best: {best['val/accuracy']:.2%} in epoch {best['epoch']:.0f}"
        axes.plot(
            best["epoch"], best["val/accuracy"], "o", color=RED, markersize=10, fillstyle="none", mew=2, label=label
        )


def _scale(loss: Axes, accuracy: Axes, rate: Axes) -> None:
    """Label the axes with whole epochs, percentages and short numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axes in (loss, accuracy, rate):
        style_axes(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        if not axes.lines:
            axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color="0.4")
    low, high = loss.dataLim.minposy, loss.dataLim.y1
    if high > LOG_SCALE_FROM * low:
        loss.set_yscale("log")
    accuracy.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _enclose_single_points(*plots: Axes, epoch: float) -> None:
    """Show a run of one epoch from 0 on: automatic limits would enclose the points by a few per cent."""
    for axes in plots:
        axes.set_xticks([epoch])
        axes.set_xlim(epoch - 1, epoch + 1)
        if axes.lines and axes.get_yscale() == "linear":
            axes.set_ylim(0, 1.25 * max(1e-12, axes.dataLim.y1))
