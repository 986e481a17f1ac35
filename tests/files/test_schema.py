from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from cifar100.files import schema
from cifar100.files.schema import Schema, all_of, boolean, fields, like, list_of, map_of, nothing_or, number, one_of

PERSON = fields({"name": schema.text, "age": schema.whole(0, 150)}, optional={"weight": number(0)})

ADMITTED: list[tuple[Schema, Any]] = [
    (number(), -2.5),
    (number(0, 1), 1),
    (schema.whole(), 3),
    (boolean, True),
    (schema.text, ""),
    (one_of("a", 1), 1),
    (nothing_or(boolean), None),
    (list_of(boolean, length=2), [True, False]),
    (map_of(schema.whole()), {"a": 1}),
    (all_of(map_of(schema.whole()), fields({"a": number()})), {"a": 1}),
    (PERSON, {"name": "x", "age": 3, "more": []}),
    (like({"a": [1, 2.5], "b": None}), {"a": [7, -1], "b": "text"}),
]

REFUSED: list[tuple[Schema, Any, str]] = [
    (number(), math.nan, "it is nan, expected a number"),
    (number(), math.inf, "it is inf, expected a number"),
    (number(), True, "it is True"),
    (number(0, 1), 1.5, "it is 1.5, expected a number from 0 to 1"),
    (number(), 10**400, "expected a number"),
    (schema.whole(), 1.0, "expected a whole number"),
    (schema.whole(), -1, "it is -1, expected a whole number from 0"),
    (schema.whole(), True, "it is True"),
    (boolean, 1, "it is 1, expected true or false"),
    (schema.text, 5, "it is 5, expected text"),
    (one_of("a", 1), True, "it is True, expected one of a, 1"),
    (nothing_or(boolean), "x", "it is the text 'x'"),
    (list_of(boolean), {}, "it is a dict, expected a list"),
    (list_of(boolean), [True, 2], r"it\[1\] is 2"),
    (list_of(boolean, length=2), [True], "it has 1 entries, expected 2"),
    (map_of(schema.whole()), {1: 1}, "a name in it is 1, expected text"),
    (map_of(schema.whole()), {"\x1b": "b"}, r"it.\\x1b is the text 'b'"),
    (PERSON, {"name": "x"}, "it has no 'age'"),
    (PERSON, {"name": "x", "age": 3, "weight": "y"}, "it.weight is the text 'y'"),
    (PERSON, [], "it is a list, expected a mapping"),
    (like({"a": 1}), {"a": 1, "b": 2}, "it has the unexpected 'b'"),
    (like({"a": 1}), {}, "it has no 'a'"),
    (like([1]), [1, 2], "it has 2 entries, expected 1"),
    (like({"b": None}), {"b": [1]}, "it.b is a list, expected a number or text"),
]


@pytest.mark.parametrize(("admits", "value"), ADMITTED)
def test_what_fits_is_admitted(admits: Schema, value: Any) -> None:
    admits(value, "it")


@pytest.mark.parametrize(("admits", "value", "reason"), REFUSED)
def test_what_does_not_fit_is_named(admits: Schema, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        admits(value, "it")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_a_file_is_read_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    path.write_text('{"name": "x", "age": 3}')
    assert schema.read_as(path, PERSON) == {"name": "x", "age": 3}
    with pytest.raises(ValueError, match="it has no 'weight'"):
        schema.read_as(path, fields({"weight": number()}))
    with pytest.raises(OSError, match="larger than 5 bytes"):
        schema.read_as(path, PERSON, limit=5)
