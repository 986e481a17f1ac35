"""An entry of the command table, and its parser."""

from __future__ import annotations

import pytest

from cifar100.cli.command import Command, Parser
from cifar100.cli.main import COMMANDS, build_parser
from cifar100.errors import UserError


def test_the_summary_is_the_first_line_of_the_docstring() -> None:
    def function() -> None:
        """Do it.

        In this way.
        """

    assert Command(function, lambda options: None).summary == "Do it."


def test_a_mistake_is_one_line() -> None:
    parser = Parser(prog="x")
    parser.add_argument("--top", type=int)
    parser.add_argument("--ratio", type=float)
    parser.add_argument("--split", choices=["test", "validation"])
    parser.add_argument("run", metavar="RUN")
    for arguments, message in {
        ("--top", "many"): "--top is many, but it must be a whole number",
        ("--ratio", "big"): "--ratio is big, but it must be a number",
        ("--split", "train"): "--split is train, but it must be one of test, validation",
        ("--top",): "--top needs a value",
        (): "missing on the command line: RUN",
    }.items():
        with pytest.raises(UserError, match=rf"^{message}; see x --help\.$"):
            parser.parse_args(arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_default_of_every_option_that_has_one(name: str) -> None:
    parser = build_parser(name)
    shown = " ".join(parser.format_help().split())
    options = [action for action in parser._actions if action.required and action.option_strings]
    required = [text for action in options for text in (action.option_strings[0], "run")]
    given = ["bash"] if name == "completion" else ["run", "image", *required]
    for option, default in vars(parser.parse_known_args(given)[0]).items():
        if isinstance(default, (str, int)) and default is not False and default not in ("run", "bash"):
            assert f"(default: {default})" in shown, option
