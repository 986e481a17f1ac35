"""What is printed of an evaluation: of a network, of an ensemble, and of its members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifar100.cli.shown_robustness import add_robustness
from cifar100.foreign_text import printable
from cifar100.terminal import say, show

if TYPE_CHECKING:
    from rich.table import Table

    from cifar100.results.calibration import Calibration
    from cifar100.results.combining.ensemble import EnsembleEvaluation
    from cifar100.results.comparison.result import PairComparison
    from cifar100.results.evaluate import Evaluation, Measurement
    from cifar100.runs.combined import Member


def show_evaluation(evaluation: Evaluation) -> None:
    """Print every figure with its 95 % interval, and the classes with the highest and the lowest accuracy."""
    table = plain_table()
    table.add_row("data", printable(evaluation.data))
    table.add_row("images", f"{evaluation.num_images:,}, {evaluation.split}")
    table.add_row(
        "weights", f"{printable(evaluation.checkpoint)}, epoch {evaluation.epoch}" + ", averaged" * evaluation.averaged
    )
    if evaluation.combined:
        table.add_row("", printable(evaluation.combined))
    _add_classes(table, evaluation)
    show(table)
    say()
    figures = _figures_table()
    _add_metrics(figures, evaluation)
    _add_calibration(figures, evaluation.calibration)
    if evaluation.calibrated is not None:
        figures.add_row(f"with temperature {evaluation.calibrated.temperature:.3f}", "", _whose(evaluation))
        _add_calibration(figures, evaluation.calibrated, indent="  ", all_figures=True)
    if evaluation.flip_tta is not None:
        figures.add_row("with flip TTA", "", "test-time augmentation: mean logits of the image and its mirror image")
        _add_metrics(figures, evaluation.flip_tta, indent="  ")
    if evaluation.robustness is not None:
        add_robustness(figures, evaluation.robustness)
    show(figures)


def show_ensemble(evaluation: EnsembleEvaluation) -> None:
    """Print the figures of an ensemble, and what it gains over each member."""
    table = plain_table()
    table.add_row("ensemble", f"the mean of the probabilities of {len(evaluation.members)} networks")
    table.add_row("data", printable(evaluation.data))
    table.add_row("images", f"{evaluation.num_images:,}, {evaluation.split}")
    if evaluation.num_parameters is not None:
        table.add_row("parameters", f"{evaluation.num_parameters:,} of all members")
    _add_classes(table, evaluation)
    show(table)
    say()
    figures = _figures_table()
    _add_metrics(figures, evaluation)
    _add_calibration(figures, evaluation.calibration)
    show(figures)
    say()
    say("The ensemble against each member, on the same images:")
    show(
        members_table(
            evaluation.members, [each.accuracy.value for each in evaluation.members], evaluation.against_members
        )
    )


def _add_classes(table: Table, evaluation: Evaluation | EnsembleEvaluation) -> None:
    ordered = sorted(evaluation.per_class.items(), key=lambda item: item[1].recall, reverse=True)
    rows = {"best classes": ordered[:3], "worst classes": ordered[:-4:-1]}
    for title, classes in ({"classes": ordered} if len(ordered) < 6 else rows).items():
        shown = (f"{printable(name, max_length=60)} {measures.recall:.0%}" for name, measures in classes)
        table.add_row(title, ", ".join(shown))


def _figures_table() -> Table:
    from rich.text import Text

    figures = plain_table()
    figures.add_row("", "", Text("95 % interval", style="dim"))
    return figures


def _add_metrics(table: Table, measurement: Measurement, *, indent: str = "") -> None:
    from rich.text import Text

    from cifar100.metrics import label, text

    for name, estimate in measurement.metrics.items():
        low, high = (text(name, bound) for bound in estimate.interval)
        style = "bold" if name == "accuracy" else ""
        table.add_row(indent + label(name), Text(text(name, estimate.value), style=style), f"{low} to {high}")


def _add_calibration(table: Table, calibration: Calibration, *, indent: str = "", all_figures: bool = False) -> None:
    if all_figures:
        table.add_row(f"{indent}loss", f"{calibration.loss:.4f}", "")
        table.add_row(f"{indent}Brier score", f"{calibration.brier_score:.4f}", "")
    same_size = f"bins of equal width; {calibration.ece_equal_mass:.4f} in bins of equally many images"
    table.add_row(f"{indent}calibration error", f"{calibration.ece_equal_width:.4f}", same_size)


def _whose(evaluation: Evaluation) -> str:
    """Return on which images the temperature was fitted."""
    return "fitted on these images" if evaluation.split == "validation" else "fitted on the validation images"


def members_table(members: Sequence[Member], accuracies: Sequence[float], pairs: Sequence[PairComparison]) -> Table:
    """Return a table of the members, and of what was combined against each of them."""
    from rich.table import Table

    table = Table("Member", "Epoch", box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("Accuracy", "Points", "95 % interval", "p"):
        table.add_column(title, justify="right")
    table.add_column("Verdict")
    for member, accuracy, pair in zip(members, accuracies, pairs, strict=True):
        low, high = pair.interval
        table.add_row(
            printable(pair.reference),
            f"{member.epoch}" + " EMA" * member.averaged,
            f"{accuracy:.2%}",
            f"{100 * pair.difference:+.2f}",
            f"{100 * low:+.2f} to {100 * high:+.2f}",
            "<0.001" if pair.p_value < 0.001 else f"{pair.p_value:.3f}",
            ("better" if pair.difference > 0 else "worse") if pair.is_more_than_chance else "unclear",
        )
    return table


def plain_table() -> Table:
    """Return a table without lines and headers."""
    from rich.table import Table

    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
