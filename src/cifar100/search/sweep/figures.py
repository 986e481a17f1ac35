"""The figures of a sweep: accuracy by trial, importance of each setting, accuracy by the value of a setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cifar100.config.shown_values import shown
from cifar100.results.report.rendering.figures import Drawing, as_percentages
from cifar100.results.report.rendering.inline import SERIES, curve_style, new_axes, svg
from cifar100.search.sweep.results import Entry, SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FINISHED = "finished"

_PRUNED_STYLE = {"facecolors": "none", "edgecolors": SERIES[1]}


def history(trials: Sequence[Entry]) -> Drawing | None:
    """Return the accuracy of each trial in the order of their beginnings, and the best so far; None without any."""
    found = sorted((trial for trial in trials if trial.accuracy is not None), key=lambda trial: trial.number)
    if not found:
        return None
    figure, axes = new_axes(width=720)
    _scatter(axes, found, [trial.number for trial in found])
    finished = [trial for trial in found if trial.state == _FINISHED]
    best = [max(trial.accuracy or 0.0 for trial in finished[: count + 1]) for count in range(len(finished))]
    axes.step([trial.number for trial in finished], best, where="post", linewidth=1.8, **curve_style(2))
    axes.set(xlabel="trial", ylabel="validation accuracy")
    _whole_numbers(axes)
    as_percentages(axes, "y")
    last = f"; the best has {best[-1]:.2%}" if best else ""
    return Drawing(
        title="History",
        svg=svg(figure, name="history", description=f"Validation accuracy of {len(found)} trials{last}"),
        legend=("finished", "stopped early", "best so far"),
    )


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
    figure, axes = new_axes()
    values = [trial.values[name] for trial in trials]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        _scatter(axes, trials, values)
        if is_log:
            _logarithmic(axes, values)
    else:
        texts = sorted({shown(value) for value in values})
        _scatter(axes, trials, [texts.index(shown(value)) for value in values])
        axes.set_xticks(range(len(texts)), texts)
        axes.set_xlim(-0.5, len(texts) - 0.5)
    axes.set(xlabel=name, ylabel="validation accuracy")
    as_percentages(axes, "y")
    return Drawing(
        title=name,
        svg=svg(figure, name=f"slice{index}", description=f"Validation accuracy of {len(trials)} trials by {name}"),
        legend=("finished", "stopped early") if any(trial.state != _FINISHED for trial in trials) else ("finished",),
    )


def _scatter(axes: Axes, trials: Sequence[Entry], places: Sequence[Any]) -> None:
    """Draw a disc for each finished trial, and a ring for the others."""
    for is_finished in (True, False):
        chosen = [(place, trial) for place, trial in zip(places, trials, strict=True)]
        chosen = [(place, trial) for place, trial in chosen if (trial.state == _FINISHED) == is_finished]
        style: dict[str, Any] = {"color": SERIES[0]} if is_finished else _PRUNED_STYLE
        axes.scatter([place for place, _ in chosen], [trial.accuracy or 0.0 for _, trial in chosen], s=26, **style)


def _logarithmic(axes: Axes, values: Sequence[Any]) -> None:
    """Make the horizontal axis logarithmic, with labels that do not overlap in a small figure."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    is_narrow = max(values) < 100 * min(values)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_narrow else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
