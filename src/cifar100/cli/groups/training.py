"""`find-lr`, `train`, `runs`, `recipes` and `models`."""

from __future__ import annotations

import shlex
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.cli.shown_estimate import show_estimate
from cifar100.config import Config
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.process.launchers import is_rank_zero, launcher
from cifar100.runs.folder import LOGS
from cifar100.settings import given_settings, load_config, recipe_names
from cifar100.terminal import say, say_next, show

if TYPE_CHECKING:
    from cifar100.models.facts import ModelFacts


def _add_training_options(parser: ArgumentParser) -> None:
    parser.add_argument("--recipe", help=f"settings to start from: {', '.join(recipe_names())} (default: original)")
    parser.add_argument(
        "--config", action="append", default=None, metavar="FILE", help="YAML file with settings; may be repeated"
    )
    parser.add_argument(
        "--experiment", metavar="NAME", help="name of the run folder in logs/ (default: the next experiment<N>)"
    )


def _add_train_options(parser: ArgumentParser) -> None:
    _add_training_options(parser)
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="continue an interrupted run, or a finished one with a larger --training.max_epochs",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, measure some steps, and estimate time, memory and disk; write nothing",
    )


def _config(options: Namespace) -> Config:
    files = options.config or []
    return load_config(options.recipe, files=files, overrides=given_settings(options))


def _find_lr(options: Namespace) -> None:
    found = commands.find_lr(_config(options), experiment=options.experiment)
    if is_rank_zero():
        rate = ("--optimization.learning_rate", f"{found.learning_rate:.3g}")
        _say_next_training(options.typed, *rate, leave_out=("--experiment", rate[0]))


def _train(options: Namespace) -> None:
    resume = options.resume
    if options.dry_run:
        if resume is not None:
            raise UserError("--dry-run is for a new run; leave out --resume.")
        estimate = commands.dry_run(_config(options), experiment=options.experiment)
        if is_rank_zero() and show_estimate(estimate):
            _say_next_training([argument for argument in options.typed if argument != "--dry-run"])
        return
    if resume is None:
        commands.train(_config(options), experiment=options.experiment)
        return
    if any(getattr(options, name) for name in ("recipe", "config", "experiment")):
        raise UserError(
            "--resume continues in the run's own folder with its own settings; leave out --recipe, --config and "
            "--experiment."
        )
    commands.train(resume=resume, changes=given_settings(options))


def _say_next_training(typed: Sequence[str], *more: str, leave_out: Collection[str] = ()) -> None:
    """Print the command that trains with the arguments that were typed, and `more`.

    leave_out: options that take a value, and are left out with it.
    """
    started_by = launcher()
    command = shlex.join(["cifar100", "train", *_without(typed, leave_out), *more])
    say_next(command, purpose="" if started_by is None else f"started by {started_by} as here")


def _without(arguments: Sequence[str], names: Collection[str]) -> Iterator[str]:
    """Yield the arguments except the options of these names and their values."""
    remaining = iter(arguments)
    for argument in remaining:
        name, is_joined, _ = argument.partition("=")
        if name not in names:
            yield argument
        elif not is_joined:
            next(remaining, None)


def _runs(options: Namespace) -> None:
    from rich.table import Table

    runs = commands.list_runs()
    if not runs:
        say(f"no runs in {LOGS.absolute()}; start one: cifar100 train --recipe quickstart")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("Run", overflow="fold")
    table.add_column("Recipe")
    table.add_column("Data")
    table.add_column("Epochs", justify="right")
    table.add_column("Best val", justify="right")
    table.add_column("Status")
    table.add_column("Age", justify="right")
    for run in runs:
        best = "" if run.best is None else f"{run.best:.2%}"
        recipe = run.combined or run.recipe
        cells = (
            run.name,
            recipe,
            run.data,
            "" if run.combined else run.epochs,
            best,
            run.status,
            format_age(run.updated),
        )
        table.add_row(*(printable(cell, max_length=80) for cell in cells))
    show(table)
    say_next("cifar100 evaluate RUN", "cifar100 report RUN", "cifar100 compare RUN RUN")


def format_age(moment: datetime | None, *, now: datetime | None = None) -> str:
    """Return the time since a moment, in the largest unit; empty for None."""
    if moment is None:
        return ""
    age = (now or datetime.now(UTC)) - moment
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if age >= length:
            return f"{age // length} {unit}"
    return f"{max(0, int(age.total_seconds()))} s"


def _recipes(options: Namespace) -> None:
    from rich.table import Table

    table = Table("Recipe", "Purpose", "Time", "Accuracy", box=None, header_style="bold", pad_edge=False)
    for recipe in commands.list_recipes():
        table.add_row(recipe["name"], recipe["purpose"], recipe["time"], recipe["accuracy"])
    show(table)
    say_next("cifar100 train --recipe NAME")


def _add_models_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "pattern", nargs="?", metavar="PATTERN", help="list the networks of timm that match, such as 'timm/*lite*'"
    )


def _models(options: Namespace) -> None:
    from rich.table import Table

    models = commands.list_models(options.pattern)
    if options.pattern is not None:
        _show_timm(models)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("Network", no_wrap=True)
    table.add_column("Paper")
    for title in ("Params", "Mult-adds", "Images/s", "Accuracy"):
        table.add_column(title, justify="right")
    for model in models:
        speed = "" if model.images_per_second is None else f"{model.images_per_second:,.0f}"
        accuracy = "" if model.accuracy is None else f"{model.accuracy:.2%}"
        sizes = format_size(model.parameters), format_size(model.mult_adds)
        table.add_row(model.name, model.paper, *sizes, speed, accuracy)
    show(table)
    say()
    _note("Mult-adds: of a forward pass of one 32x32 image; model_info.txt of a run has those at its image size.")
    for measured_on in sorted({model.measured_on for model in models} - {""}):
        _note(f"Images/s: training steps, {measured_on}; empty if not yet measured.")
    _note("Accuracy: published, on the CIFAR-100 test images; empty if the paper has none. Sources:")
    for model in models:
        if model.accuracy_source:
            _note(f"  {model.name}: {model.accuracy_source}")
    _note("timm has over a thousand other networks, with weights.")
    say_next("cifar100 train --model.name NAME", "cifar100 models 'timm/*lite*'")


def _note(text: str) -> None:
    for line in textwrap.wrap(text, 80, subsequent_indent="  "):
        say(line)


def _show_timm(models: list[ModelFacts]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("Network", overflow="fold")
    for title in ("Parameters", "Mult-adds", "Image"):
        table.add_column(title, justify="right")
    table.add_column("Weights")
    for model in models:
        sizes = format_size(model.parameters), format_size(model.mult_adds), f"{model.image_side}"
        table.add_row(model.name, *sizes, "published" if model.is_pretrained else "none")
    show(table)
    say()
    _note("Parameters: with 100 classes. Mult-adds: for a forward pass of one image. Image: its side in pixels.")
    say_next("cifar100 train --recipe finetune --model.name NAME")


def format_size(number: int | None) -> str:
    """Return a number with three digits and its unit, such as `36.5 M`."""
    if number is None:
        return "not stated"
    rounded = round(number, 3 - len(str(number)))
    for unit, size in (("G", 10**9), ("M", 10**6)):
        if rounded >= size:
            return f"{rounded / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{number:,}"


COMMANDS = {
    "find-lr": Command(
        commands.find_lr,
        _find_lr,
        _add_training_options,
        has_settings=True,
        usage=(
            "cifar100 find-lr [--recipe NAME] [--config FILE]... [--experiment NAME]\n"
            "                        [--SECTION.KEY VALUE]..."
        ),
    ),
    "train": Command(
        commands.train,
        _train,
        _add_train_options,
        has_settings=True,
        usage=(
            "cifar100 train [--recipe NAME] [--config FILE]... [--experiment NAME]\n"
            "                      [--SECTION.KEY VALUE]... [--dry-run]\n"
            "       cifar100 train --resume RUN [--SECTION.KEY VALUE]..."
        ),
    ),
    "runs": Command(commands.list_runs, _runs),
    "recipes": Command(commands.list_recipes, _recipes),
    "models": Command(commands.list_models, _models, _add_models_options),
}
