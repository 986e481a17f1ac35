"""An entry of the command table, and how its help looks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace


@dataclass(frozen=True)
class Command:
    """One entry of the command table."""

    function: Callable[..., Any]
    """The function of `cifar100.commands`; the first line of its docstring is the summary in the help."""

    run: Callable[[Namespace], None]
    """Call the function with the parsed options and print what it returns."""

    add_options: Callable[[ArgumentParser], None] = lambda parser: None

    has_settings: bool = False
    """Whether every setting of `Config` is an option; the help then shows the values of `--recipe` as defaults."""

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").splitlines()[0]


class HelpFormatter(DefaultHelpFormatter):
    """Help without Python's type expressions, and with `VALUE` as every option's placeholder."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        shown = action.option_strings and action.default not in (None, argparse.SUPPRESS) and "default" not in text
        return f"{text} (default: %(default)s)" if shown else text

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return "VALUE"
