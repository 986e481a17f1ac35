"""`sweep` and `trials`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import printable
from cifar100.settings import given_settings, load_config, recipe_names
from cifar100.terminal import say, say_next, show

if TYPE_CHECKING:
    from cifar100.search.sweep.results import SweepResult
    from cifar100.search.trials.summary import TrialsResult

MAX_ROWS = 40

MAX_REPORTED = 8
"""Runs in the command that compares the trials."""


def _add_sweep_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "space", metavar="SPACE.yaml|NAME", help="file of a sweep, to run it; or name of a sweep, to show its results"
    )
    parser.add_argument("--name", help="name of the sweep, a folder in logs/sweeps/ (default: the name of the file)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="number of trials at a time on this machine (default: 1)"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="postgresql://USER@HOST/DATABASE, for several machines: run the same command on each; put the password "
        "into ~/.pgpass or PGPASSWORD (default: an SQLite file in the folder of the sweep)",
    )


def _sweep(options: Namespace) -> None:
    show_sweep(
        commands.sweep(options.space, name=options.name, storage=options.storage, workers=options.workers),
    )


def show_sweep(result: SweepResult) -> None:
    """Print the trials, the best first, and what to do next."""
    from rich.table import Table

    from cifar100.search.sweep.results import short

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Trial", "Accuracy", "Epochs"):
        table.add_column(title, justify="right")
    for title in ("State", *(name.partition(".")[2] for name in result.space)):
        table.add_column(printable(title, max_length=40))
    for trial in result.trials[:MAX_ROWS]:
        accuracy = "" if trial.accuracy is None else f"{trial.accuracy:.2%}"
        values = (short(trial.values[name]) if name in trial.values else "" for name in result.space)
        table.add_row(str(trial.number), accuracy, str(trial.epochs), trial.state, *values)
    show(table)
    if len(result.trials) > MAX_ROWS:
        say(f"... and {len(result.trials) - MAX_ROWS} more")
    say()
    for trial in result.trials:
        if trial.failure:
            say(f"trial {trial.number} failed: {printable(trial.failure, max_length=200)}")
    say("Accuracy: on validation images, best epoch of each trial; test images are not used")
    say(f"page: {result.page}")
    if result.best is not None:
        say(f"best: trial {result.best.number}, {result.best.run}")
        say_next(f"cifar100 train --config {as_argument(result.best_config)}")


def _add_trials_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "recipe",
        nargs="?",
        metavar="RECIPE",
        help=f"{', '.join(recipe_names())} (default: that of --config, or original)",
    )
    parser.add_argument(
        "--config", action="append", default=None, metavar="FILE", help="YAML file with settings; may be repeated"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="number of seeds (default: 3)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="seed of the first trial (default: 0)")
    parser.add_argument(
        "--folds", type=int, metavar="K", help="K stratified folds instead of seeds; saves out-of-fold probabilities"
    )
    parser.add_argument(
        "--split", choices=["test", "validation"], default="test", help="images to measure on (default: test)"
    )
    parser.add_argument(
        "--checkpoint", choices=["last", "best"], default="last", help="weights to measure (default: last)"
    )
    parser.add_argument("--name", help="name of the folder in logs/trials/ (default: that of the recipe or file)")


def _trials(options: Namespace) -> None:
    files, given = options.config or [], given_settings(options)
    if "training.seed" in given:
        raise UserError("--training.seed differs from trial to trial; choose the first with --first-seed.")
    name = options.name
    if name is None and files:
        name = Path(files[-1]).stem + ("" if options.folds is None else f"-{options.folds}folds")
    result = commands.trials(
        load_config(options.recipe, files=files, overrides=given),
        seeds=options.seeds,
        first_seed=options.first_seed,
        folds=options.folds,
        split=options.split,
        checkpoint=options.checkpoint,
        name=name,
    )
    show_trials(result)


def show_trials(result: TrialsResult) -> None:
    """Print the figures over all trials, and the rule by which they were measured."""
    from rich.table import Table

    say()
    table = Table("Figure", box=None, header_style="bold", pad_edge=False)
    for title in ("Trials", "Mean", "Standard deviation", "95 % interval of the mean"):
        table.add_column(title, justify="right")
    for figure in result.figures:
        text = "{:.2%}".format if figure.name.endswith("accuracy") else "{:.1f}".format
        low_high = "" if figure.interval is None else " to ".join(map(text, figure.interval))
        deviation = "" if figure.deviation is None else text(figure.deviation)
        table.add_row(figure.name, str(figure.num_trials), text(figure.mean), deviation, low_high)
    show(table)
    say()
    say(f"rule:   {result.rule}")
    say(f"trials: {result.file}")
    if result.probabilities is not None:
        say(f"probabilities of the held-out images: {result.probabilities}")
    runs = [quote(line["run"]) for line in result.lines if not line["diverged"]]
    if runs:
        say_next(f"cifar100 report {' '.join(runs[:MAX_REPORTED])}")


COMMANDS = {
    "sweep": Command(commands.sweep, _sweep, _add_sweep_options),
    "trials": Command(
        commands.trials,
        _trials,
        _add_trials_options,
        has_settings=True,
        usage=(
            "cifar100 trials [RECIPE] [--config FILE]...\n"
            "                       [--seeds N [--first-seed S] | --folds K]\n"
            "                       [--split test|validation] [--checkpoint last|best]\n"
            "                       [--name NAME] [--SECTION.KEY VALUE]..."
        ),
    ),
}
