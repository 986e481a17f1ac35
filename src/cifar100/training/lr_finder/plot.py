"""The plot of a range test."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from cifar100.files.atomic import replacing
from cifar100.training.lr_finder.suggestions import RangeTestResult

COLOURS = MappingProxyType({"steepest": "#7a5195", "valley": "#2a9d6f", "minimum / 10": "#c8553d"})
CURVE = "#3b6fb6"


def plot_result(result: RangeTestResult, path: Path) -> None:
    """Plot the loss over the learning rate, on a log axis, and mark every suggestion."""
    from matplotlib.figure import Figure  # pyplot would keep global state and need a display

    rates, smoothed = result.learning_rates, result.smoothed_losses
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, result.losses, ".", color=CURVE, alpha=0.25, markersize=4, label="each batch")
    axes.plot(rates, smoothed, color=CURVE, linewidth=2, label="smoothed")
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
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    with replacing(path) as file:
        figure.savefig(file, format="png")
