"""Show a value in a message: short whatever its size, in one line, as the command line and YAML write it."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from cifar100.foreign_text import printable

MAX_LENGTH = 100
"""Maximum number of characters."""

MAX_ELEMENTS = 12
"""Elements of a list or a section that are shown."""

_LARGEST_INT = 10**40
"""Python takes quadratic time to write a large number, and refuses one of more than 4,300 digits."""

_LARGEST_WHOLE = 1e15
"""Python writes larger numbers with an exponent, as 1e+16."""


def shown(value: Any) -> str:
    """Return `null`, `true`, a number, text without quotes, or `[1, 2, ...]`. Never builds a long text to cut it."""
    return printable(_shown(value, depth=0), max_length=MAX_LENGTH)


def shown_setting(value: Any) -> str:
    """Return the value of a setting as it is typed: -3, although a setting that takes 0.5 as well holds -3.0."""
    if isinstance(value, (list, tuple)):
        return shown([_as_typed(element) for element in value])
    return shown(_as_typed(value))


def _as_typed(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_WHOLE else value


def _shown(value: Any, *, depth: int) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value[: MAX_LENGTH + 1] or "''"
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, int) and abs(value) >= _LARGEST_INT:
        return f"{'-' if value < 0 else ''}10^{value.bit_length() * 0.30103:.0f}"
    if isinstance(value, (list, tuple)):
        return f"[{_cut([_element(item, depth) for item in value[:MAX_ELEMENTS]], len(value))}]"
    if isinstance(value, Mapping):
        keys = list(itertools.islice(value, MAX_ELEMENTS))
        return f"{{{_cut([f'{_element(key, depth)}: {_element(value[key], depth)}' for key in keys], len(value))}}}"
    return str(value) if isinstance(value, (int, float)) else reprlib.repr(value)


def _element(value: Any, depth: int) -> str:
    return "..." if depth == 3 else _shown(value, depth=depth + 1)


def _cut(first: list[str], total: int) -> str:
    return ", ".join([*first, *["..."] * (total > len(first))])
