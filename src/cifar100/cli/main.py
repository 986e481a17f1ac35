"""The command table and the way from `sys.argv` to a command. Turns a user's mistake into one line."""

from __future__ import annotations

import difflib
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from cifar100 import __version__
from cifar100.cli.command import Command, Parser
from cifar100.cli.completion import INSTALLATION, completion_script
from cifar100.cli.groups import (
    audit,
    combining,
    comparison,
    data,
    export,
    prediction,
    results,
    search,
    sharing,
    training,
)
from cifar100.config import settings
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.process.launchers import is_rank_zero
from cifar100.settings import add_settings, recipe_names
from cifar100.terminal import say, unfailing_streams, warn
from cifar100.training.distributed.joining import SECONDS_FOR_RANK_ZERO


def _add_completion_options(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=INSTALLATION, help="shell to write the script for")


def _completion(options: Namespace) -> None:
    for line in completion_script(options.shell, {name: build_parser(name) for name in COMMANDS}).splitlines():
        say(line, is_data=True)


_GROUPS = (data, training, results, prediction, combining, comparison, audit, export, search, sharing)
_BY_NAME = {
    **{name: command for group in _GROUPS for name, command in group.COMMANDS.items()},
    "completion": Command(completion_script, _completion, _add_completion_options),
}

PURPOSES = {
    "data": ("prepare", "audit"),
    "train": ("train", "find-lr", "sweep", "trials", "average", "runs"),
    "measure": ("evaluate", "report", "compare"),
    "use": ("predict", "export", "demo", "publish"),
    "look up": ("recipes", "models", "info", "completion"),
}
"""Purpose -> names of commands, in the order of `cifar100 --help`."""

COMMANDS: dict[str, Command] = {name: _BY_NAME[name] for names in PURPOSES.values() for name in names}
"""Command name -> command."""


def main() -> None:
    """Run the command line and exit; a bug keeps its traceback.

    0: done; 2: a user's mistake; 3: the training diverged; 4: `predict` could not read every image; 130: Ctrl-C; 143:
    SIGTERM; 129: the terminal was closed; 141: nobody reads the data of `predict` any more. `cifar100.__main__` handles
    130, 143 and 129.
    """
    with unfailing_streams():
        try:
            run_command_line(sys.argv[1:])
        except UserError as error:
            if error.only_here or is_rank_zero():
                warn(str(error))
            else:
                time.sleep(SECONDS_FOR_RANK_ZERO)
            sys.exit(error.exit_status)


def run_command_line(arguments: Sequence[str]) -> None:
    """Parse and run one command.

    Raises:
        UserError: a mistake on the command line, or one that the command found.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        for line in overview().splitlines():
            say(line)
        return
    name, *rest = arguments
    if name == "--version":
        say(f"cifar100 {__version__}")
        return
    if name not in COMMANDS:
        near = difflib.get_close_matches(name[:50], COMMANDS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"choose from: {', '.join(COMMANDS)}."
        raise UserError(f"unknown command {printable(name, max_length=100)!r}; {meant} See cifar100 --help.")
    parser = build_parser(name, _named_recipe(rest))
    options, unknown = parser.parse_known_args(_with_values(rest), Namespace(typed=rest))
    if unknown:
        raise UserError(parser.unknown(unknown[0]))
    COMMANDS[name].run(options)


def overview() -> str:
    """Return the text of `cifar100 --help`."""
    tables = [
        "\n".join([f"{purpose}:", *(f"  {name:<10} {COMMANDS[name].summary}" for name in names)])
        for purpose, names in PURPOSES.items()
    ]
    return (
        "usage: cifar100 COMMAND [options]\n\n"
        "Train, evaluate and use image classifiers on CIFAR-100 and on custom images.\n\n"
        + "\n\n".join(tables)
        + "\n\n"
        "'cifar100 COMMAND --help' lists the options of a command.\n"
        "To try it, in two minutes and without a download:\n"
        "  cifar100 train --recipe quickstart"
    )


def build_parser(name: str, recipe: str | None = None) -> Parser:
    """Return the parser of one command; with a recipe, `--help` shows that recipe's values as the defaults."""
    command = COMMANDS[name]
    parser = Parser(prog=f"cifar100 {name}", description=command.summary, allow_abbrev=False)
    command.add_options(parser)
    if command.has_settings:
        add_settings(parser, recipe=recipe if recipe in recipe_names() else command.recipe)
        parser.usage = command.usage
    return parser


def _with_values(arguments: Sequence[str]) -> list[str]:
    """Join each setting and its value by `=`: argparse takes a value such as -1e-4 for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1].removeprefix("--") in settings() and not argument.startswith("--"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _named_recipe(arguments: Sequence[str]) -> str | None:
    for position, argument in enumerate(arguments):
        if argument == "--recipe":
            return "".join(arguments[position + 1 : position + 2])
        if argument.startswith("--recipe="):
            return argument.partition("=")[2]
    return None
