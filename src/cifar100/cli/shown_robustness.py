"""The rows of the optional parts in the table of `evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar100.foreign_text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from cifar100.results.measures import Estimate
    from cifar100.results.robustness.corruptions import CorruptionAccuracy, CorruptionFigures
    from cifar100.results.robustness.duplicates import DuplicateFigures
    from cifar100.results.robustness.label_errors import LabelErrorFigures
    from cifar100.results.robustness.parts import Robustness


def add_robustness(table: Table, robustness: Robustness) -> None:
    """Add the figures that were asked for: name, top-1 accuracy, 95 % interval."""
    if robustness.duplicates is not None:
        _add_duplicates(table, robustness.duplicates)
    if robustness.label_errors is not None:
        _add_label_errors(table, robustness.label_errors)
    if robustness.corruptions is not None:
        _add_corruptions(table, robustness.corruptions)


def _add_duplicates(table: Table, figures: DuplicateFigures) -> None:
    table.add_row("near-duplicates", "", f"top-1 accuracy, by {printable(figures.list)}")
    _add_row(table, "without them", figures.without_duplicates)
    _add_row(table, "without exact and near", figures.without_exact_and_near)
    _add_row(table, "on them", figures.only_duplicates)
    for name, estimate in figures.by_judgment.items():
        _add_row(table, f"  {name}", estimate)


def _add_label_errors(table: Table, figures: LabelErrorFigures) -> None:
    table.add_row("label errors", "", f"top-1 accuracy, by {printable(figures.list)}: {figures.num_errors:,} errors")
    _add_row(table, "without them", figures.without_errors)
    counts = f"{figures.num_corrected:,} with another label, {figures.num_either:,} with two"
    _add_row(table, "corrected", figures.corrected, note=f", {counts}, {figures.num_left_out:,} left out")


def _add_corruptions(table: Table, figures: CorruptionFigures) -> None:
    table.add_row("corruptions", "", f"top-1 accuracy on images {_origin(figures)}")
    title = f"mean of {len(figures.by_corruption)}"
    _add_row(table, title, figures.mean_accuracy, note=f"; mean error {figures.mean_error:.2%}")
    for name, accuracy in figures.by_corruption.items():
        _add_corruption(table, name, accuracy)
    for name, accuracy in figures.extra.items():
        _add_corruption(table, f"{name}, not counted", accuracy)
    if figures.left_out:
        table.add_row("  left out", "", f"{', '.join(figures.left_out)}, without a counterpart in Albumentations")


def _add_corruption(table: Table, name: str, accuracy: CorruptionAccuracy) -> None:
    levels = ", ".join(f"{estimate.value:.1%}" for estimate in accuracy.by_severity)
    _add_row(table, name.replace("_", " "), accuracy.mean, note=f"; by severity {levels}", count=False)


def _origin(figures: CorruptionFigures) -> str:
    return f"of {printable(figures.source)}" if figures.is_official else printable(figures.source)


def _add_row(table: Table, name: str, estimate: Estimate, *, note: str = "", count: bool = True) -> None:
    low, high = estimate.interval
    images = f"; {estimate.num_images:,} images" if count else ""
    table.add_row(f"  {name}", f"{estimate.value:.2%}", f"{low:.2%} to {high:.2%}{images}{note}")
