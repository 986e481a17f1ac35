"""The command table: command name -> plain function of `cifar100.commands`. Turns a user's mistakes into one line."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from cifar100 import __version__, commands
from cifar100.errors import UserError
from cifar100.settings import DEFAULT_RECIPE, add_settings, given_settings, load_config, recipe_names, unknown_option
from cifar100.training.processes import is_rank_zero

# Threads that wait for each other inside an operation spin for a few microseconds, then give the processor away. OpenMP
# reads this when torch is loaded. Spinning for ever is up to ten times slower beside another busy process, giving the
# processor away at once makes small operations 2.4 times slower on an idle machine (measured in docs/results.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

EXIT_INTERRUPTED = 130


class Parser(ArgumentParser):
    """Raises a `UserError` for a mistake, in place of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found as one line."""
        raise UserError(f"{message}; --help shows the options.")


@dataclass(frozen=True)
class Command:
    """One entry of the command table."""

    function: Callable[..., Any]
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], None]

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").splitlines()[0]


def _add_prepare_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        default="download",
        help="`download`, `generated` (Shapes-100), or the path of an official folder or archive",
    )
    parser.add_argument("--root", default="dataset", help="folder to write to")


def _run_prepare(options: Namespace) -> None:
    commands.prepare(options.source, options.root)


def _add_training_options(parser: ArgumentParser) -> None:
    parser.add_argument("--recipe", help=f"settings to start from: {', '.join(recipe_names())} (default: original)")
    parser.add_argument(
        "--config", action="append", default=None, metavar="FILE", help="YAML file with settings; may be repeated"
    )
    parser.add_argument("--experiment", metavar="NAME", help="folder below logs/ (default: the next experiment<N>)")


def _add_train_options(parser: ArgumentParser) -> None:
    _add_training_options(parser)
    parser.add_argument(
        "--resume", metavar="RUN", help="go on with a run that was interrupted, or with a longer --training.max_epochs"
    )


def _add_find_lr_options(parser: ArgumentParser) -> None:
    _add_training_options(parser)


def _run_train(options: Namespace) -> None:
    settings = given_settings(options)
    resume = options.resume
    if resume is not None:
        if any(getattr(options, name) for name in ("recipe", "config", "experiment")):
            raise UserError(
                "--resume goes on in the run's own folder; give no --recipe, --config or --experiment with it."
            )
        commands.train(resume=resume, changes=settings)
        return
    config = load_config(options.recipe, files=options.config or [], overrides=settings)
    commands.train(config, experiment=options.experiment)


def _run_find_lr(options: Namespace) -> None:
    config = load_config(options.recipe, files=options.config or [], overrides=given_settings(options))
    commands.find_lr(config, experiment=options.experiment)


def _add_checkpoint_option(parser: ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default="best", metavar="best|last|PATH", help="which weights to use")


def _add_evaluate_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder or an experiment's name")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="which images to measure on")
    _add_checkpoint_option(parser)
    parser.add_argument(
        "--flip-tta", action="store_true", help="also average each image with its mirror image; shown apart"
    )


def _run_evaluate(options: Namespace) -> None:
    from cifar100.results.evaluate import show_evaluation

    evaluation = commands.evaluate(
        options.run, split=options.split, checkpoint=options.checkpoint, flip_tta=options.flip_tta
    )
    show_evaluation(evaluation)


def _add_predict_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder or an experiment's name")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, any size and format")
    parser.add_argument("--top", type=int, default=5, help="classes to show for each image")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    _add_checkpoint_option(parser)


def _run_predict(options: Namespace) -> None:
    from cifar100.results.predict import show_predictions

    predictions = commands.predict(options.run, options.images, top=options.top, checkpoint=options.checkpoint)
    if options.json:
        print(json.dumps([asdict(prediction) for prediction in predictions], indent=2))
    else:
        show_predictions(predictions)


def _run_runs(options: Namespace) -> None:
    from cifar100.runs.listing import show_runs

    show_runs(commands.runs())


def _run_recipes(options: Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "purpose", "time", "accuracy", box=None, header_style="bold", pad_edge=False)
    for recipe in commands.recipes():
        table.add_row(recipe["name"], recipe["purpose"], recipe["time"], recipe["accuracy"])
    Console().print(table)
    print("\nUse one: cifar100 train --recipe NAME")


def _add_info_options(parser: ArgumentParser) -> None:
    parser.add_argument("--root", default="dataset", help="data folder to look at")


def _run_info(options: Namespace) -> None:
    for title, facts in commands.info(options.root).items():
        print(title)
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"  {name:<{width}}  {value}")


COMMANDS: dict[str, Command] = {
    "prepare": Command(commands.prepare, _add_prepare_options, _run_prepare),
    "find-lr": Command(commands.find_lr, _add_find_lr_options, _run_find_lr),
    "train": Command(commands.train, _add_train_options, _run_train),
    "evaluate": Command(commands.evaluate, _add_evaluate_options, _run_evaluate),
    "predict": Command(commands.predict, _add_predict_options, _run_predict),
    "runs": Command(commands.runs, lambda parser: None, _run_runs),
    "recipes": Command(commands.recipes, lambda parser: None, _run_recipes),
    "info": Command(commands.info, _add_info_options, _run_info),
}


def overview() -> str:
    """Return the text of `cifar100 --help`."""
    table = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
    return (
        "usage: cifar100 COMMAND [options]\n\nTrain, evaluate and use CIFAR-100 classifiers.\n\n"
        f"commands:\n{table}\n\n"
        "'cifar100 COMMAND --help' lists a command's options. A first look, in two minutes and without a download:\n"
        "  cifar100 train --recipe quickstart"
    )


def build_parser(name: str, recipe: str | None = None) -> ArgumentParser:
    """Return the parser of one command; with a recipe, `--help` shows that recipe's values as the defaults."""
    command = COMMANDS[name]
    parser = Parser(prog=f"cifar100 {name}", description=command.summary, allow_abbrev=False)
    command.add_options(parser)
    if name in ("train", "find-lr"):
        add_settings(parser, recipe=recipe if recipe in recipe_names() else DEFAULT_RECIPE)
        parser.usage = (
            f"cifar100 {name} [--recipe NAME] [--config FILE]... [--experiment NAME] [--SECTION.KEY VALUE]..."
        )
    return parser


def _named_recipe(arguments: Sequence[str]) -> str | None:
    for position, argument in enumerate(arguments):
        if argument == "--recipe":
            return "".join(arguments[position + 1 : position + 2])
        if argument.startswith("--recipe="):
            return argument.partition("=")[2]
    return None


def run_command_line(arguments: Sequence[str]) -> None:
    """Parse and run one command.

    Raises:
        UserError: a mistake on the command line, or one that the command found.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return
    name, *rest = arguments
    if name == "--version":
        print(f"cifar100 {__version__}")
        return
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}; there are: {', '.join(COMMANDS)}.")
    options, unknown = build_parser(name, _named_recipe(rest)).parse_known_args(rest)
    if unknown:
        raise UserError(unknown_option(unknown[0]))
    COMMANDS[name].run(options)


def main() -> None:
    """Run the command line and exit; a bug keeps its traceback.

    0: done; 2: a user's mistake; 3: the training diverged; 130: Ctrl-C; 143: SIGTERM.
    """
    try:
        run_command_line(sys.argv[1:])
    except UserError as error:
        print(f"cifar100: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt as error:
        if is_rank_zero():
            print(f"\ncifar100: interrupted. {error}".rstrip(), file=sys.stderr)
        sys.exit(getattr(error, "exit_status", EXIT_INTERRUPTED))
    except BrokenPipeError:  # the reader went away, as in `cifar100 recipes | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
