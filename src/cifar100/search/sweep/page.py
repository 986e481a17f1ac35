"""`sweep.html`: the trials of a sweep as one file that looks like the report."""

from __future__ import annotations

from cifar100.config.shown_values import shown
from cifar100.errors import UserError
from cifar100.files.atomic import what_to_do, write_atomically
from cifar100.results.report.rendering.templates import template
from cifar100.search.sweep.figures import history, importances, slices
from cifar100.search.sweep.results import SweepResult, short


def write_page(result: SweepResult) -> None:
    """Write the page into the sweep's folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_atomically(result.page, render(result).encode())
    except OSError as error:
        raise UserError(f"{result.page} cannot be written ({error.strerror or error}); {what_to_do(error)}.") from error


def render(result: SweepResult) -> str:
    """Return the page."""
    counts = {state: sum(trial.state == state for trial in result.trials) for state in _ORDER}
    return template("sweep.html.jinja").render(
        sweep=result,
        counts={state: count for state, count in counts.items() if count},
        best_values={name: short(value) for name, value in result.best.values.items()} if result.best else {},
        fixed={name: shown(value) for name, value in result.fixed.items()},
        rows=[
            (trial, [short(trial.values[name]) if name in trial.values else "" for name in result.space])
            for trial in result.trials
        ],
        history=history(result.trials),
        importances=importances(result.importances),
        slices=slices(result),
    )


_ORDER = ("finished", "pruned", "failed", "running", "waiting")
