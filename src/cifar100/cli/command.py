"""An entry of the command table, and its parser."""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from cifar100.config.suggestions import suggestion
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.settings import DEFAULT_RECIPE


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

    recipe: str = DEFAULT_RECIPE
    """Recipe whose settings are the defaults if none is named."""

    usage: str | None = None
    """First line of the help; None: all options, which are too many with `has_settings`."""

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").splitlines()[0]


_IN_OUR_WORDS = {
    r"argument (\S+): invalid int value: '(.*)'": r"\1 is \2, but it must be a whole number",
    r"argument (\S+): invalid float value: '(.*)'": r"\1 is \2, but it must be a number",
    r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)": r"\1 is \2, but it must be one of \3",
    r"argument (\S+): expected one argument": r"\1 needs a value",
    r"argument (\S+): not allowed with argument (\S+)": r"\1 and \2 cannot be used together; use only one",
    r"the following arguments are required: (.*)": r"missing on the command line: \1",
}
"""Message of argparse, as a regular expression -> what we say."""


class Parser(ArgumentParser):
    """Raises a `UserError` for a mistake, instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as one line."""
        for pattern, sentence in _IN_OUR_WORDS.items():
            message = re.sub(pattern, sentence, message, flags=re.DOTALL)
        start, middle, choices = message.partition("must be one of ")
        message = start + middle + choices.replace("'", "")  # argparse quotes them, depending on the version of Python
        raise UserError(f"{message}; see {self.prog} --help.")

    def unknown(self, argument: str) -> str:
        """Return the message about an argument that the command does not take, with the nearest option."""
        name = printable(argument.partition("=")[0], max_length=100)
        if not argument.startswith("-"):
            return f"unexpected argument {name}; leave it out, or see {self.prog} --help."
        options = [
            text.removeprefix("--")
            for action in self._actions
            if action.help != SUPPRESS
            for text in action.option_strings
            if text.startswith("--")
        ]
        near = suggestion(name[:200].lstrip("-"), options)
        advice = f"see {self.prog} --help." if near is None else f"did you mean --{near}? See {self.prog} --help."
        return f"{self.prog.removeprefix('cifar100 ')} has no option {name}; {advice}"
