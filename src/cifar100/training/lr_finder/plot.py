"""The plot of a range test."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from cifar100.plots.style import BLUE, GREEN, PURPLE, RED, new_figure, render, style_axes, write_png
from cifar100.training.lr_finder.suggestions import RangeTestResult

COLOURS = MappingProxyType({"steepest": PURPLE, "valley": GREEN, "minimum / 10": RED})


def plot_result(result: RangeTestResult, path: Path) -> None:
    """Plot the loss over the learning rate, on a log axis, and mark every suggestion."""
    rates, smoothed = result.learning_rates, result.smoothed_losses
    figure = new_figure(8, 4.8)
    axes = figure.add_subplot()
    axes.plot(rates, result.losses, ".", color=BLUE, alpha=0.25, markersize=4, label="each batch")
    axes.plot(rates, smoothed, color=BLUE, linewidth=2, label="smoothed")
    for name, rate in result.suggestions.items():
        is_taken = name == result.taken
        nearest = min(range(len(rates)), key=lambda index: abs(rates[index] / rate - 1))
        label = f"{name}: {rate:.2g}{', taken' if is_taken else ''}"
        axes.axvline(rate, color=COLOURS[name], linewidth=1.6 if is_taken else 0.8, linestyle="-" if is_taken else ":")
        axes.plot(rate, smoothed[nearest], "o", color=COLOURS[name], markersize=9 if is_taken else 5, label=label)
    low, high = min(smoothed), smoothed[0]
    margin = 0.25 * (high - low)
    axes.set_ylim(low - 2 * margin, high + 2 * margin)  # a diverging end must not flatten the curve
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
    style_axes(axes)
    axes.legend(frameon=False, loc="lower left")
    write_png(render(figure), path)
