"""`compare`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.config.shown_values import shown_setting
from cifar100.files.atomic import json_text
from cifar100.foreign_text import printable
from cifar100.terminal import say, say_next, show

if TYPE_CHECKING:
    from rich.table import Table

    from cifar100.results.comparison.result import Comparison, Group, GroupComparison, RunFigures

MAX_CLASSES = 5
"""Number of classes that are shown; the JSON holds all."""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folders or experiment names, at least two; the first is the reference of the others",
    )
    parser.add_argument(
        "--split",
        choices=["test", "validation"],
        default="test",
        help="images to compare on (default: test); to choose between runs, use validation",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _compare(options: Namespace) -> None:
    comparison = commands.compare(options.runs, split=options.split)
    if options.json:
        for line in json_text(asdict(comparison)).splitlines():
            say(line, is_data=True)
    else:
        show_comparison(comparison)
        say_next(f"cifar100 report {' '.join(map(quote, options.runs))}")


def show_comparison(comparison: Comparison) -> None:
    """Print the runs, what differs in their settings, the tests, and where the first two disagree."""
    say(f"{comparison.num_images:,} {comparison.split} images of {printable(comparison.data, max_length=80)}")
    say()
    show(_runs_table(comparison.runs))
    _show_settings(comparison)
    _show_pairs(comparison)
    _show_groups(comparison)
    _show_disagreement(comparison)
    say()
    _show_text(comparison.caution)


def _runs_table(runs: Sequence[RunFigures]) -> Table:
    headers = ("Run", "Group", "Seed", "Accuracy", "95 % interval", "Time", "Params", "Epoch")
    table = _table(*headers, text_columns=("Run", "Group", "Epoch"))
    for run in runs:
        low, high = run.interval
        weights = "" if run.checkpoint is None else f"{run.epoch} {printable(Path(run.checkpoint).stem, max_length=40)}"
        table.add_row(
            printable(run.name) + (f" ({run.combined})" if run.combined else ""),
            run.group,
            "" if run.seed is None else str(run.seed),
            f"{run.accuracy:.2%}",
            f"{100 * low:.1f} to {100 * high:.1f}",
            "" if run.training_seconds is None else str(timedelta(seconds=round(run.training_seconds))),
            "" if run.num_parameters is None else _in_millions(run.num_parameters),
            weights + " EMA" * run.averaged,
        )
    return table


def _show_settings(comparison: Comparison) -> None:
    """Print each setting in which groups differ, with the groups that have each value."""
    say()
    if not comparison.differing_settings:
        say("The settings differ only in the seed.")
        return
    table = _table("What differs", "", text_columns=("What differs", ""))
    for setting, values in comparison.differing_settings.items():
        groups_with = {repr(value): [group for group in values if values[group] == value] for value in values.values()}
        cells = (f"{', '.join(groups)}: {shown_setting(values[groups[0]])}" for groups in groups_with.values())
        table.add_row(printable(setting), ";  ".join(cells))
    show(table)


def _show_pairs(comparison: Comparison) -> None:
    reference = printable(comparison.pairs[0].reference)
    table = _table(
        "Run", "Points", "95 % interval", "Only it", "Only ref", "p", "Verdict", text_columns=("Run", "Verdict")
    )
    for pair in comparison.pairs:
        table.add_row(
            printable(pair.run),
            f"{100 * pair.difference:+.2f}",
            _points(pair.interval),
            f"{pair.num_only_run_right:,}",
            f"{pair.num_only_reference_right:,}",
            _probability(pair.p_value),
            _verdict(pair.difference, is_certain=pair.is_more_than_chance),
        )
    say()
    say(f"Against {reference} (ref) on the same images, for these weights:")
    show(table)
    _say_level(len(comparison.pairs))


def _show_groups(comparison: Comparison) -> None:
    """Print the groups of several runs; without two of them, say what is missing."""
    repeated = [group for group in comparison.groups if group.deviation is not None]
    if repeated:
        say()
        say("Over seeds, each run counting once:")
        show(_groups_table(repeated, comparison.group_pairs))
        _say_level(len(comparison.group_pairs))
    if len(repeated) < 2 <= len(comparison.groups):
        say("This ignores the variation between seeds. To compare settings, train each with several seeds.")


def _groups_table(groups: Sequence[Group], pairs: Sequence[GroupComparison]) -> Table:
    tests = {pair.group: pair for pair in pairs}
    tested = ("Points", "95 % interval", "p", "Verdict") if pairs else ()
    table = _table("Group", "Runs", "Mean", "Deviation", *tested, text_columns=("Group", "Verdict"))
    for group in groups:
        deviation = "" if group.deviation is None else f"{100 * group.deviation:.2f}"
        row = [group.name, str(len(group.runs)), f"{group.mean:.2%}", deviation]
        if group.name in tests:
            row += _test_cells(tests[group.name])
        elif tests:
            row.append("(ref)")
        table.add_row(*row)
    return table


def _test_cells(pair: GroupComparison) -> list[str]:
    return [
        f"{100 * pair.difference:+.2f}",
        "" if pair.interval is None else _points(pair.interval),
        "" if pair.p_value is None else _probability(pair.p_value),
        _verdict(pair.difference, is_certain=pair.is_more_than_chance),
    ]


def _show_disagreement(comparison: Comparison) -> None:
    pair = comparison.pairs[0]
    num_disagreements = pair.num_only_run_right + pair.num_only_reference_right
    say()
    _show_text(
        f"{printable(pair.reference)} (ref) and {printable(pair.run)} (it): both right {pair.num_both_right:,}, "
        f"both wrong {pair.num_both_wrong:,}, only one right {num_disagreements:,}"
    )
    if not comparison.classes:
        return
    table = _table("Class", "Images", "Ref right", "It right", "Change", text_columns=("Class",))
    for entry in comparison.classes[:MAX_CLASSES]:
        change = entry.num_run_right - entry.num_reference_right
        counts = (entry.num_images, entry.num_reference_right, entry.num_run_right)
        table.add_row(printable(entry.name, max_length=40), *(f"{count:,}" for count in counts), f"{change:+,}")
    show(table)


def _say_level(num_comparisons: int) -> None:
    if num_comparisons > 1:
        say(f"{num_comparisons} comparisons, so a verdict needs p < 0.05 / {num_comparisons}.")


def _verdict(difference: float, *, is_certain: bool) -> str:
    return ("better" if difference > 0 else "worse") if is_certain else "unclear"


def _points(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * low:+.2f} to {100 * high:+.2f}"


def _probability(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _in_millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 10_000 else f"{count:,}"


def _show_text(text: str) -> None:
    """Print a text, on a terminal with line breaks between words."""
    from rich.table import Table

    table = Table.grid()
    table.add_row(text)
    show(table)


def _table(*headers: str, text_columns: Sequence[str]) -> Table:
    """Return a table whose other columns are numbers, which are aligned to the right."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, justify="left" if header in text_columns else "right", overflow="fold")
    return table


COMMANDS = {"compare": Command(commands.compare, _compare, _add_options)}
