"""Make text that a person or a file names safe to show: file and class names, values of settings, server headers.

Such text is data. It never becomes terminal control, markup, a second line of a log, or a formula of a spreadsheet.
"""

from __future__ import annotations

MAX_LENGTH = 2000
"""Maximum number of characters of a shown text; a message with two long paths is shorter."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet evaluates a cell that begins with one of these."""


def printable(text: object, *, max_length: int = MAX_LENGTH) -> str:
    """Return a text as one line without control characters; what does not print is shown as `\\x1b` or `\\u202e`.

    Use it for the terminal, a log and a comment in YAML. Characters that change the direction of the text and those
    without a width are escaped as well.
    """
    whole = str(text)
    shown = "".join(map(_escaped, whole[:max_length]))
    return shown if len(whole) <= max_length else f"{shown}..."


def reason(error: BaseException, *, max_length: int = 200) -> str:
    """Return why an operation failed, as part of a sentence that names the file: one line, without number and path."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(text.split()) or type(error).__name__, max_length=max_length)


def csv_cell(text: object) -> str:
    """Return a text as a cell of a CSV file that no spreadsheet evaluates as a formula: a quote precedes it."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA_STARTS) else shown


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", errors="backslashreplace").decode("ascii")
