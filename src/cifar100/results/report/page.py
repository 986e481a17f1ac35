"""Write the report of a run: what it is, how it learned, what it is worth, where it is wrong. Read this first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cifar100.errors import UserError
from cifar100.files.atomic import what_to_do, write_atomically
from cifar100.files.regular import open_regular
from cifar100.models import NetworkSource
from cifar100.results.report.activation_maps import ActivationMaps, activation_maps, evaluated_network
from cifar100.results.report.comparison import comparison_context, name_of_comparison
from cifar100.results.report.confusion import class_matrix, most_confused, superclass_matrix
from cifar100.results.report.facts import RunFacts, read_facts
from cifar100.results.report.measured import Measured, TopLoss, outdated, read_measured, with_measured_members
from cifar100.results.report.pictures import Pictures, read_pictures
from cifar100.results.report.rendering.figures import calibration_figures, training_curves
from cifar100.results.report.rendering.templates import template
from cifar100.results.report.robustness import measured_parts
from cifar100.runs.folder import RunFolder
from cifar100.terminal import temporary_line, warn


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The images of a page; None for what cannot be shown."""

    pictures: Pictures | None = None
    maps: ActivationMaps | None = None


GENERATOR = b'<meta name="generator" content="cifar100 report">'
BYTES_OF_HEAD = 2000
"""A report begins with this line, within its first bytes."""


def write_report(
    runs: Sequence[RunFolder], *, output: Path | None = None, network: NetworkSource | None = None
) -> Path:
    """Write the report of one run, or of several side by side. Returns the path of the HTML file.

    Args:
        runs: the run folders.
        output: the file; None: `report.html` in the folder of a single run, else a file below `logs/`.
        network: for the activation maps of a single run; see `load_trained`.

    Raises:
        UserError: a file of a run is damaged, or the report cannot be written.
    """
    with temporary_line("writing the report ..."):
        if len(runs) == 1:
            page, problems = _single_page(runs[0], network)
            path = output or runs[0].report
        else:
            page, problems = template("comparison.html.jinja").render(comparison_context(runs)), []
            path = output or name_of_comparison(runs)
        if output is not None:
            _check_is_replaceable(output)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, page.encode())
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror or error}); {what_to_do(error)}, or choose another file "
                "with --output."
            ) from error
    for problem in problems:
        warn(problem)
    return path


def _check_is_replaceable(path: Path) -> None:
    """Refuse to replace a file that is no earlier report.

    Raises:
        UserError: there is another file.
    """
    if not os.path.lexists(path):
        return
    try:
        with open_regular(path) as file:
            is_report = GENERATOR in file.read(BYTES_OF_HEAD)
    except OSError:
        is_report = False
    if not is_report:
        raise UserError(f"{path} already exists and is not a report; choose another --output.")


def _single_page(run: RunFolder, network: NetworkSource | None) -> tuple[str, list[str]]:
    """Return the page of a run, and why it lacks pictures, if it does."""
    facts = read_facts(run)
    measured = read_measured(facts)
    if measured is not None:
        facts = with_measured_members(facts, measured)
    context: dict[str, Any] = {"facts": facts, "measured": measured, "curves": training_curves(facts.epochs)}
    problems: list[str] = []
    if measured is not None:
        losses = measured.top_losses()
        shown = _shown(facts, measured, losses, network, problems)
        context |= _measured_context(facts, measured, losses, shown)
    return template("page.html.jinja").render(context), problems


def _measured_context(facts: RunFacts, measured: Measured, losses: list[TopLoss], shown: Shown) -> dict[str, Any]:
    calibrated = measured.content.get("calibrated")
    temperature = None if calibrated is None else calibrated["temperature"]
    return {
        "outdated": outdated(facts, measured),
        "matrix": class_matrix(measured),
        "superclass_matrix": superclass_matrix(measured),
        "pairs": most_confused(measured),
        "class_rows": measured.class_rows(),
        "losses": losses,
        "pictures": shown.pictures,
        "maps": shown.maps,
        "calibrations": [each for each in (measured.content["calibration"], calibrated) if each is not None],
        "calibration_figures": calibration_figures(measured, temperature=temperature),
        "parts": measured_parts(measured.content),
    }


def _shown(
    facts: RunFacts,
    measured: Measured,
    losses: list[TopLoss],
    network: NetworkSource | None,
    problems: list[str],
) -> Shown:
    """Return what can be shown of the images; appends to `problems` why something cannot."""
    try:
        pictures = read_pictures(facts, measured)
    except UserError as error:
        problems.append(f"the report has no pictures: {error}")
        return Shown()
    positions = np.array([loss.index for loss in losses], dtype=np.int64)
    if not len(positions) or facts.is_ensemble:  # it has no single network to look into
        return Shown(pictures=pictures)
    try:
        trained = evaluated_network(facts, measured, network)
        maps = activation_maps(trained, pictures.images[positions], measured.saved.predicted[positions])
    except UserError as error:
        problems.append(f"the report has no activation maps: {error}")
        return Shown(pictures=pictures)
    return Shown(pictures=pictures, maps=maps)
