"""Several runs side by side: their settings, figures and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar100.config.shown_values import shown
from cifar100.errors import UserError
from cifar100.results.report.facts import RunFacts, read_facts
from cifar100.results.report.measured import ClassRow, Measured, outdated, read_measured
from cifar100.results.report.rendering.figures import compared_curves, coverage_figure
from cifar100.results.report.rendering.inline import MAX_CURVES
from cifar100.runs.folder import LOGS, MAX_NAME_BYTES, RunFolder


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One of several runs."""

    name: str
    """Its name, or its path if another has the same name."""

    facts: RunFacts
    measured: Measured | None
    outdated: str
    """See `outdated`; empty if the figures are of the weights of now."""


def comparison_context(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Return what the template of several runs shows.

    Raises:
        UserError: there are too many runs, or a file of a run is damaged.
    """
    if len(runs) > MAX_CURVES:
        raise UserError(
            f"there are {len(runs)} runs, but a report shows at most {MAX_CURVES} side by side; leave out some."
        )
    compared = _read(runs)
    measured = {run.name: run.measured for run in compared if run.measured is not None}
    same_images = len({each.content["images_sha256"] for each in measured.values()}) <= 1
    return {
        "runs": compared,
        "settings": different_settings([run.facts for run in compared]),
        "metric_names": list(dict.fromkeys(name for each in measured.values() for name in each.content["metrics"])),
        "same_images": same_images,
        "curves": compared_curves({run.name: run.facts.epochs for run in compared}),
        "coverage": coverage_figure(measured) if len(measured) == len(compared) and same_images else None,
        "recalls": _recalls(compared),
    }


def different_settings(runs: Sequence[RunFacts]) -> dict[str, list[str]]:
    """Return the settings in which some runs differ: name -> value of each run."""
    names = list(dict.fromkeys(name for facts in runs for name in facts.settings))
    rows = {name: [shown(facts.settings.get(name)) for facts in runs] for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def name_of_comparison(runs: Sequence[RunFolder]) -> Path:
    """Return the file of a report on several runs: `logs/report-RUN-RUN.html`."""
    names = [run.name for run in runs]
    joined = "-".join(names)
    if len(joined.encode()) > MAX_NAME_BYTES:
        joined = f"{names[0]}-and-{len(names) - 1}-more"
    return LOGS / f"report-{joined}.html"


def _read(runs: Sequence[RunFolder]) -> list[Compared]:
    names = [run.name for run in runs]
    compared = []
    for run in runs:
        facts = read_facts(run)
        name = run.name if names.count(run.name) == 1 else run.path.as_posix()
        measured = read_measured(facts)
        earlier = "" if measured is None else outdated(facts, measured)
        compared.append(Compared(name=name, facts=facts, measured=measured, outdated=earlier))
    return compared


def _recalls(compared: Sequence[Compared]) -> list[tuple[ClassRow, list[float | None]]]:
    """Return each class with its recall in every run that was measured; nothing if the runs have other classes."""
    measured = [run.measured for run in compared]
    known = [each for each in measured if each is not None]
    if not known or len({each.info.class_names for each in known}) > 1:
        return []
    tables = [{} if each is None else {row.label: row for row in each.class_rows()} for each in measured]
    first = {label: row for table in reversed(tables) for label, row in table.items()}
    rows = [
        (row, [table[label].recall if label in table else None for table in tables]) for label, row in first.items()
    ]
    return sorted(rows, key=lambda entry: min(recall for recall in entry[1] if recall is not None))
