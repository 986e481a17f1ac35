"""`average`, and what it has in common with an ensemble."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.foreign_text import printable
from cifar100.terminal import say, show

if TYPE_CHECKING:
    from rich.table import Table

    from cifar100.results.comparison.result import PairComparison
    from cifar100.runs.combined import Member


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folders, names of experiments or .ckpt files in run folders, at least two",
    )
    parser.add_argument("--experiment", metavar="NAME", help="folder below logs/ (default: the next experiment<N>)")
    parser.add_argument(
        "--checkpoint", choices=["best", "last"], default="best", help="weights of each run (default: best)"
    )
    parser.add_argument("--data.root", dest="data_root", metavar="DIR", help="another folder with the runs' data")


def _average(options: Namespace) -> None:
    from cifar100.environment import this_program  # imports numpy

    found = commands.average(
        options.runs, experiment=options.experiment, checkpoint=options.checkpoint, data_root=options.data_root
    )
    say(f"{found.run.path}: the mean of the weights of {len(found.members)} networks")
    if found.evaluation is not None:
        low, high = found.evaluation.top1_interval
        say(
            f"accuracy on {found.evaluation.num_images:,} validation images: {found.evaluation.top1:.2%} "
            f"({100 * low:.1f} to {100 * high:.1f})"
        )
        say()
        say("The average against each member, on the same images:")
        show(members_table(found.members, found.member_accuracies, found.against_members))
        say("The epoch of each member was chosen on these images, which makes its accuracy slightly too optimistic.")
    say()
    say("Look further:")
    say(f"  {this_program()} evaluate {quote(found.run.name)}")


def members_table(members: Sequence[Member], accuracies: Sequence[float], pairs: Sequence[PairComparison]) -> Table:
    """Return a table of the members, and of what was combined against each of them."""
    from rich.table import Table

    table = Table("member", "epoch", box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("accuracy", "points", "95 % interval", "p"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
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


COMMANDS = {"average": Command(commands.average, _average, _add_options)}
