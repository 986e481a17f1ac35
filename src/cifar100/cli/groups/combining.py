"""`average`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from shlex import quote

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.cli.shown_evaluation import members_table
from cifar100.terminal import say, say_next, show


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folders, experiment names or .ckpt files in run folders, at least two",
    )
    parser.add_argument(
        "--experiment", metavar="NAME", help="name of the run folder in logs/ (default: the next experiment<N>)"
    )
    parser.add_argument(
        "--checkpoint", choices=["best", "last"], default="best", help="weights of each run (default: best)"
    )
    parser.add_argument("--data.root", dest="data_root", metavar="DIR", help="another folder with the runs' data")


def _average(options: Namespace) -> None:
    from cifar100.data.dataset_info import read_info  # imports numpy

    found = commands.average(
        options.runs, experiment=options.experiment, checkpoint=options.checkpoint, data_root=options.data_root
    )
    say(f"{found.run.path}: the mean of the weights of {len(found.members)} networks")
    if found.evaluation is not None:
        low, high = found.evaluation.top1_interval
        say(
            f"accuracy on {found.evaluation.num_images:,} validation images: {found.evaluation.top1:.2%} "
            f"(95 % interval {low:.2%} to {high:.2%})"
        )
        say()
        say("The average against each member, on the same images:")
        show(members_table(found.members, found.member_accuracies, found.against_members))
        say("The epoch of each member was chosen on these images, which makes its accuracy slightly too optimistic.")
    split = "" if read_info(found.run.dataset_info).num_test else " --split validation"
    say_next(f"cifar100 evaluate {quote(found.run.name)}{split}")


COMMANDS = {"average": Command(commands.average, _average, _add_options)}
