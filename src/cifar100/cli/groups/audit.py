"""`audit`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.settings import given_settings, load_config, recipe_names
from cifar100.terminal import say, say_next

if TYPE_CHECKING:
    from cifar100.results.audit import AuditReport
    from cifar100.results.exclusion import Exclusion

RECIPE = "laptop"
"""Of the runs of `--folds`."""

_TITLES = {
    "exact_duplicate": "exact duplicates",
    "near_duplicate": "near-duplicates",
    "label": "suspected label errors",
    "oddity": "oddities",
}


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "root", nargs="?", metavar="ROOT", help="data folder (default: that of --run, else --data.root, `dataset`)"
    )
    parser.add_argument(
        "--run",
        help="a run trained on these data; its network finds more, and label errors among the images it has not seen",
    )
    parser.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="train K networks, each without one fold, to find label errors in all images",
    )
    parser.add_argument(
        "--probabilities",
        metavar="FILE",
        help="out-of-fold probabilities of `cifar100 trials --folds K`, to find label errors in all training images",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder to write to (default: audit-NAME, with the name of the data folder)"
    )
    parser.add_argument(
        "--apply", metavar="FILE", help="check an edited audit.csv, and show how to train without the images it rejects"
    )
    parser.add_argument("--recipe", help=f"with --folds: {', '.join(recipe_names())} (default: {RECIPE})")
    parser.add_argument(
        "--config",
        action="append",
        default=None,
        metavar="FILE",
        help="with --folds: YAML file with settings; may be repeated",
    )


def _audit(options: Namespace) -> None:
    settings = given_settings(options)
    if options.root is not None and "data.root" in settings:
        raise UserError("ROOT and --data.root both set the data folder; use only one.")
    root = settings.get("data.root", options.root)
    if options.apply is not None:
        _refuse(options, settings, "--apply", "run", "folds", "probabilities", "out", "recipe", "config")
        show_exclusion(commands.apply_audit(options.apply, "dataset" if root is None else root))
        return
    if options.folds is None:
        _refuse(options, settings, "audit without --folds", "recipe", "config")
        show_report(commands.audit(root, run=options.run, probabilities=options.probabilities, out=options.out))
        return
    for other in ("run", "probabilities"):
        if getattr(options, other) is not None:
            raise UserError(f"--{other} and --folds cannot be used together; use only one.")
    config = load_config(options.recipe or RECIPE, files=options.config or [], overrides=settings)
    show_report(commands.audit(options.root, folds=options.folds, config=config, out=options.out))


def _refuse(options: Namespace, settings: dict[str, str], context: str, *names: str) -> None:
    """Refuse options that have no effect."""
    given = [*(name for name in names if getattr(options, name) is not None), *(settings.keys() - {"data.root"})]
    if given:
        raise UserError(f"--{given[0]} has no effect with {context}; leave it out.")


def show_report(report: AuditReport) -> None:
    """Print the number of findings of each kind, and what to do next."""
    say(f"{report.data}: {report.num_train:,} training and {report.num_test:,} test images")
    width = max(map(len, _TITLES.values()))
    for kind, count in report.counts.items():
        say(f"  {_TITLES[kind]:<{width}}  {count:>7,}")
    say(f"label errors: {report.labels}")
    say()
    say(f"review: {report.page}")
    say(f"judge:  write reject or keep into the column verdict of {report.table}")
    root, table = as_argument(report.root), as_argument(report.table)
    say_next(f"cifar100 audit {root} --apply {table}", purpose="to apply the verdicts")


def show_exclusion(exclusion: Exclusion) -> None:
    """Print how many images are rejected, and how to train without them."""
    count = len(exclusion.train)
    say(f"{exclusion.table} fits the data and rejects {count:,} of {exclusion.num_train:,} training images")
    if len(exclusion.test):
        say(f"it also rejects {_test_images(len(exclusion.test))}, but evaluate always measures on all test images")
    if count:
        root, table = as_argument(exclusion.root), as_argument(exclusion.table)
        say_next(f"cifar100 train --data.root {root} --data.exclude {table}", purpose="to train without these images")


def _test_images(count: int) -> str:
    return f"{count:,} test image{'s' * (count != 1)}"


COMMANDS = {
    "audit": Command(
        commands.audit,
        _audit,
        _add_options,
        has_settings=True,
        recipe=RECIPE,
        usage=(
            "cifar100 audit [ROOT] [--run RUN | --probabilities FILE] [--out DIR]\n"
            "       cifar100 audit [ROOT] --folds K [--recipe NAME] [--config FILE]...\n"
            "                      [--SECTION.KEY VALUE]... [--out DIR]\n"
            "       cifar100 audit [ROOT] --apply FILE"
        ),
    ),
}
