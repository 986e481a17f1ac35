"""Describe the content of a file that anybody may have changed, and compare: JSON, or the plain part of a checkpoint.

A schema is a function `check(value, where)` that raises a ValueError with one line: where, what was found, what was
expected. The functions here make such functions.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cifar100.files.regular import MAX_JSON_BYTES, read_json
from cifar100.foreign_text import printable

Schema = Callable[[Any, str], None]

MAX_WHOLE = 2**53
"""Largest whole number that every reader of JSON keeps."""


def read_as(path: Path, schema: Schema, *, limit: int = MAX_JSON_BYTES) -> Any:
    """Return the content of a JSON file that fits a schema.

    Raises:
        OSError: the file cannot be read, is too large or is not a regular file.
        ValueError: it is not JSON, or does not fit.
    """
    content = read_json(path, limit=limit)
    schema(content, "it")
    return content


def mismatch(where: str, value: Any, expected: str) -> ValueError:
    """Return the error of a value that a schema does not admit."""
    shown = f"a {type(value).__name__}" if isinstance(value, (dict, list, tuple)) else printable(value, max_length=40)
    if isinstance(value, str):
        shown = f"the text {shown!r}"
    return ValueError(f"{where} is {shown}, expected {expected}")


def number(low: float = -math.inf, high: float = math.inf) -> Schema:
    """Admit finite numbers from `low` to `high`."""

    def check(value: Any, where: str) -> None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or abs(value) > sys.float_info.max:
            raise mismatch(where, value, "a number" if low == -math.inf else f"a number from {low:g} to {high:g}")

    return check


def whole(low: int = 0, high: int = MAX_WHOLE) -> Schema:
    """Admit whole numbers from `low` to `high`."""

    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise mismatch(where, value, f"a whole number from {low} to {high}")

    return check


def boolean(value: Any, where: str) -> None:
    """Admit true and false."""
    if type(value) is not bool:
        raise mismatch(where, value, "true or false")


def text(value: Any, where: str) -> None:
    """Admit text."""
    if type(value) is not str:
        raise mismatch(where, value, "text")


def one_of(*values: Any) -> Schema:
    """Admit some values."""

    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(known) and value == known for known in values):
            raise mismatch(where, value, f"one of {', '.join(map(str, values))}")

    return check


def nothing_or(schema: Schema) -> Schema:
    """Admit null as well."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            schema(value, where)

    return check


def all_of(*schemas: Schema) -> Schema:
    """Admit what fits all of some schemas."""

    def check(value: Any, where: str) -> None:
        for schema in schemas:
            schema(value, where)

    return check


def list_of(schema: Schema, *, length: int | None = None) -> Schema:
    """Admit lists whose entries fit a schema."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, (list, tuple)):
            raise mismatch(where, value, "a list")
        if length is not None and len(value) != length:
            raise ValueError(f"{where} has {len(value):,} entries, expected {length:,}")
        for position, entry in enumerate(value):
            schema(entry, f"{where}[{position}]")

    return check


def map_of(schema: Schema) -> Schema:
    """Admit mappings from any text to what fits a schema."""

    def check(value: Any, where: str) -> None:
        for name, entry in _mapping(value, where).items():
            text(name, f"a name in {where}")
            schema(entry, f"{where}.{printable(name, max_length=40)}")

    return check


def fields(required: Mapping[str, Schema], *, optional: Mapping[str, Schema] | None = None) -> Schema:
    """Admit mappings that have all required fields, and perhaps others; these are checked if they are in `optional`."""

    def check(value: Any, where: str) -> None:
        content = _mapping(value, where)
        for name, schema in required.items():
            if name not in content:
                raise ValueError(f"{where} has no {name!r}")
            schema(content[name], f"{where}.{name}")
        for name, schema in (optional or {}).items():
            if name in content:
                schema(content[name], f"{where}.{name}")

    return check


def like(example: Any) -> Schema:
    """Admit what has the structure of an example: the same fields, the same lengths of lists, the same kinds of values.

    A whole number may be any from 0, another number any finite one. None in the example admits anything plain.
    """
    if isinstance(example, Mapping):
        parts = {name: like(value) for name, value in example.items()}

        def check(value: Any, where: str) -> None:
            content = _mapping(value, where)
            if content.keys() != parts.keys():
                difference = sorted(map(str, content.keys() ^ parts.keys()))[0]
                has = "has no" if difference in map(str, parts) else "has the unexpected"
                raise ValueError(f"{where} {has} {printable(difference, max_length=40)!r}")
            for name, part in parts.items():
                part(content[name], f"{where}.{name}")

        return check
    if isinstance(example, (list, tuple)):
        entries = [like(value) for value in example]

        def check_list(value: Any, where: str) -> None:
            list_of(lambda entry, place: None, length=len(entries))(value, where)
            for position, (entry, schema) in enumerate(zip(value, entries, strict=True)):
                schema(entry, f"{where}[{position}]")

        return check_list
    return _like_scalar(example)


def _like_scalar(example: Any) -> Schema:
    kinds: dict[type, Schema] = {bool: boolean, int: whole(), float: number(), str: text}
    return kinds.get(type(example), nothing_or(_scalar))


def _scalar(value: Any, where: str) -> None:
    if not isinstance(value, (bool, int, float, str)):
        raise mismatch(where, value, "a number or text")


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise mismatch(where, value, "a mapping")
    return value
