from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from cifar100.config.shown_values import shown, shown_setting


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        ("text", "text"),
        ("", "''"),
        ((1, 2), "[1, 2]"),
        ([1, [2, None]], "[1, [2, null]]"),
        ({"a": 1}, "{a: 1}"),
        (list(range(50)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...]"),
        ([[[[[1]]]]], "[[[[...]]]]"),
        (10**400, "10^400"),
        (-(10**6000), "-10^6000"),
        ("\x1b[31m\n", r"\x1b[31m\n"),
        ("a" * 200, "a" * 100 + "..."),
        (Path("a"), "a"),
    ],
    ids=shown,
)
def test_a_value_is_short_and_in_one_line(value: Any, expected: str) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-3.0, "-3"),
        (0.5, "0.5"),
        (1e38, "1e+38"),
        (math.inf, "inf"),
        ((1.0, 0.5), "[1, 0.5]"),
        (True, "true"),
        ("auto", "auto"),
        (None, "null"),
    ],
)
def test_a_setting_is_shown_as_it_is_typed(value: Any, expected: str) -> None:
    assert shown_setting(value) == expected
    assert shown(3.0) == "3.0"  # as in "is 3.0, but it must be a whole number"


def test_a_large_value_is_cut_before_it_becomes_text() -> None:
    value: Any = "x"
    for _ in range(9):
        value = [value] * 9  # 9^9 elements, of which nothing is copied
    started = time.process_time()
    for large in (value, dict.fromkeys(range(1000), value), "x" * 10_000_000, [10**100_000] * 1000):
        assert len(shown(large)) <= 103
    assert time.process_time() - started < 0.2
