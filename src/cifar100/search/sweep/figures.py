"""The figures of a sweep: accuracy by trial, importance of each setting, accuracy by the value of a setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cifar100.config.shown_values import shown
from cifar100.results.report.rendering.figures import Drawing, Mark, as_percentages
from cifar100.results.report.rendering.inline import SERIES, curve_style, new_axes, svg
from cifar100.search.sweep.results import Entry, SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FINISHED = "finished"

_PRUNED_STYLE = {"facecolors": "none", "edgecolors": SERIES[1]}

_BEST = 2
"""Number of the curve of the best accuracy so far; the trials have 0 and 1."""

WIDTH = 360
"""Of the figure of a setting, in CSS pixels."""

_AXIS_FRACTION = 0.8
"""Of the width; the labels of the accuracies have the rest."""

_CHARACTER_PIXELS = 7.0
"""Width of a character of a tick label, rounded up."""

_MAX_CHARACTERS = 24
"""Of the label of a value; the table of the trials has the whole one."""

_ROTATION_DEGREES = 35
"""Of labels that would overlap."""


def history(trials: Sequence[Entry]) -> Drawing | None:
    """Return the accuracy of each trial in the order of their beginnings, and the best so far; None without any."""
    found = sorted((trial for trial in trials if trial.accuracy is not None), key=lambda trial: trial.number)
    if not found:
        return None
    figure, axes = new_axes(width=720)
    _scatter(axes, found, [trial.number for trial in found])
    keys = _keys(found)
    finished = [trial for trial in found if trial.state == _FINISHED]
    best = [max(trial.accuracy or 0.0 for trial in finished[: count + 1]) for count in range(len(finished))]
    if best and finished[0].number < found[-1].number:
        numbers = [*(trial.number for trial in finished), found[-1].number]
        axes.step(numbers, [*best, best[-1]], where="post", linewidth=1.8, **curve_style(_BEST))
        keys.append(("best so far", _BEST, "line"))
    axes.set(xlabel="trial", ylabel="validation accuracy")
    _spread_ticks(axes, [trial.number for trial in found])
    as_percentages(axes, "y")
    last = f"; the best has {best[-1]:.2%}" if best else ""
    return _drawing("History", svg(figure, name="history", description=_described(found, last)), keys)


def importances(of_settings: dict[str, float]) -> Drawing | None:
    """Return a bar for each setting, the most important on top; None if they are not known."""
    if not of_settings:
        return None
    names = list(of_settings)[::-1]
    figure, axes = new_axes(width=720, height=60 + 30 * len(names))
    axes.barh(names, [of_settings[name] for name in names], color=SERIES[0], height=0.6)
    axes.set(xlabel="fraction of what the settings explain", xlim=(0, 1))
    axes.grid(visible=False, axis="y")
    as_percentages(axes, "x")
    described = ", ".join(f"{name} {value:.0%}" for name, value in of_settings.items())
    return Drawing(title="Importances", svg=svg(figure, name="importances", description=f"Importances: {described}"))


def slices(result: SweepResult) -> list[Drawing]:
    """Return a figure for each setting: the accuracies of the trials by its value."""
    drawings = []
    for index, name in enumerate(result.space):
        found = [trial for trial in result.trials if trial.accuracy is not None and name in trial.values]
        if found:
            drawings.append(_slice(name, found, index, is_log="logarithmic" in result.space[name]))
    return drawings


def _slice(name: str, trials: Sequence[Entry], index: int, *, is_log: bool) -> Drawing:
    values = [trial.values[name] for trial in trials]
    is_number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    texts = [] if is_number else sorted({shown(value) for value in values})
    labels = [text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 3]}..." for text in texts]
    overlap = are_crowded(labels)
    figure, axes = new_axes(width=WIDTH, height=240 + (60 if overlap else 0))
    _scatter(axes, trials, values if is_number else [texts.index(shown(value)) for value in values])
    if is_number and is_log:
        _logarithmic(axes, values)
    elif is_number:
        _spread_ticks(axes, values)
    else:
        slanted: dict[str, Any] = {"rotation": _ROTATION_DEGREES, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(texts)), labels, parse_math=False, **(slanted if overlap else {}))
        axes.set_xlim(-0.5, len(texts) - 0.5)
    axes.set(xlabel=name.partition(".")[2], ylabel="validation accuracy")
    as_percentages(axes, "y")
    drawn = svg(figure, name=f"slice{index}", description=_described(trials, f" by {name}"))
    return _drawing(name, drawn, _keys(trials))


def are_crowded(labels: Sequence[str]) -> bool:
    """Return whether the labels of values side by side would overlap in the figure of a setting."""
    if not labels:
        return False
    return max(map(len, labels)) * _CHARACTER_PIXELS > _AXIS_FRACTION * WIDTH / len(labels)


def _described(trials: Sequence[Entry], more: str) -> str:
    return f"Validation accuracy of {len(trials):,} trials{more}"


def _keys(trials: Sequence[Entry]) -> list[tuple[str, int, Mark]]:
    """Return the entries of the legend for the discs and rings that `_scatter` draws."""
    others = {trial.state for trial in trials} - {_FINISHED}
    keys: list[tuple[str, int, Mark]] = []
    if len(others) < len({trial.state for trial in trials}):
        keys.append((_FINISHED, 0, "disc"))
    if others:
        keys.append((others.pop() if len(others) == 1 else "not finished", 1, "ring"))
    return keys


def _drawing(title: str, drawn: Any, keys: Sequence[tuple[str, int, Mark]]) -> Drawing:
    return Drawing(
        title=title,
        svg=drawn,
        legend=tuple(name for name, _, _ in keys),
        series=tuple(number for _, number, _ in keys),
        marks=tuple(mark for _, _, mark in keys),
    )


def _scatter(axes: Axes, trials: Sequence[Entry], places: Sequence[Any]) -> None:
    """Draw a disc for each finished trial, and a ring for the others."""
    for is_finished in (True, False):
        chosen = [(place, trial) for place, trial in zip(places, trials, strict=True)]
        chosen = [(place, trial) for place, trial in chosen if (trial.state == _FINISHED) == is_finished]
        style: dict[str, Any] = {"color": SERIES[0]} if is_finished else _PRUNED_STYLE
        axes.scatter([place for place, _ in chosen], [trial.accuracy or 0.0 for _, trial in chosen], s=26, **style)


def _spread_ticks(axes: Axes, values: Sequence[Any]) -> None:
    """Label few values of an axis of numbers; whole ones if all values are."""
    from matplotlib.ticker import MaxNLocator

    is_whole = all(isinstance(value, int) for value in values)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=is_whole, min_n_ticks=1))
    axes.xaxis.set_major_formatter("{x:g}")


def _logarithmic(axes: Axes, values: Sequence[Any]) -> None:
    """Make the horizontal axis logarithmic, with labels that do not overlap in a small figure."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.set_xscale("log")
    ratio = max(values) / min(values)
    if ratio < 5:  # it may contain none of 1, 2 and 5
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=1))
    else:
        subs = (1, 2, 5) if ratio < 30 else (1, 3) if ratio < 1000 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
