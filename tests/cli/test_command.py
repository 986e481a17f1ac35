"""An entry of the command table, and how its help looks."""

from __future__ import annotations

from jsonargparse import ArgumentParser

from cifar100.cli.command import Command, HelpFormatter


def test_the_summary_is_the_first_line_of_the_docstring() -> None:
    def function() -> None:
        """Do it.

        In this way.
        """

    assert Command(function, lambda options: None).summary == "Do it."


def test_help_shows_defaults_once_and_no_types() -> None:
    parser = ArgumentParser(prog="x", formatter_class=HelpFormatter)
    parser.add_argument("--top", type=int, default=5, help="how many")
    parser.add_argument("--name", help="a name (default: the next)")
    parser.add_argument("--where", metavar="PLACE", default="here", help="a place")
    lines = " ".join(parser.format_help().split())
    assert "--top VALUE how many (default: 5)" in lines
    assert "--name VALUE a name (default: the next)" in lines
    assert "--where PLACE a place (default: here)" in lines
    assert "int" not in lines.replace("print", "")
