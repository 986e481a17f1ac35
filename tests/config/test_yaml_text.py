from __future__ import annotations

import math
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar100.config.settings_file import MAX_FILE_BYTES, read_settings
from cifar100.config.yaml_text import parse_yaml
from cifar100.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1e-3", 0.001),
        ("a: 1E5", 1e5),
        ("a: -.5", -0.5),
        ("a: 5.", 5.0),
        ("a: .inf", math.inf),
        ("a: 12", 12),
        ("a: -3", -3),
        ("a: 12:30:45", "12:30:45"),
        ("a: 0x10", "0x10"),
        ("a: 010", "010"),
        ("a: 2026-01-01", "2026-01-01"),
        ("a: yes", "yes"),
        ("a: off", "off"),
        ("a: true", True),
        ("a: False", False),
        ("a: ~", None),
        ("a:", None),
        ("a: null", None),
        ("a: 'null'", "null"),
        ("a: '12'", "12"),
        ("a: [1, x, 0.5]", [1, "x", 0.5]),
        ("a: =", "="),
        ("a: <<", "<<"),
        (f"a: {'9' * 5000}", "9" * 5000),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, expected: Any) -> None:
    found = parse_yaml(text)["a"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: a is given twice, first in line 1"),
        ("a: &x 1\nb: *x", "line 1: anchors and aliases"),
        ("b: *x", "line 1: anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]", r"line 1: tags \(!\) are not supported"),
        ("a: !!int '3'", r"line 1: tags \(!\) are not supported"),
        ("? [a]\n: 1", "line 1: a name must be text"),
        ("a: {" * 30 + "}" * 30, "line 1: more than 20 levels"),
        ("[" + "1," * 6000 + "1]", "line 1: more than 5,000 values"),
        ("a: [1", "line 1: expected"),
        ("a: 1\n--- \nb: 2", "line 2: but found another document"),
        ("\x00", "special characters are not allowed"),
    ],
)
def test_anything_else_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)


def bomb(levels: int) -> str:
    """Return aliases that stand for 9^levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


def filled(part: str, size: int) -> str:
    return part * (size // len(part))


HOSTILE = {
    "aliases": bomb(9),
    "merge keys": "a: &a {x: 1}\n" + "\n".join(f"b{n}: {{<<: [*a, *a]}}" for n in range(1000)),
    "nested lists": filled("[", MAX_FILE_BYTES),
    "nested sections": filled("a: {", MAX_FILE_BYTES),
    "nested dashes": filled("- ", MAX_FILE_BYTES),
    "question marks": filled("? ", MAX_FILE_BYTES),
    "values": f"[{filled('1,', MAX_FILE_BYTES - 10)}1]",
    "short lines": filled("a: 1\n", MAX_FILE_BYTES),
    "one word": filled("a", MAX_FILE_BYTES),
    "one number": f"data: {{batch_size: {filled('9', MAX_FILE_BYTES - 30)}}}",
    "one quoted text": f"data: {{root: '{filled('a ', MAX_FILE_BYTES - 30)}'}}",
    "quotes": filled("'", MAX_FILE_BYTES),
    "spaces": "data:" + " " * (MAX_FILE_BYTES - 10),
    "comments": filled("#\n", MAX_FILE_BYTES),
    "anchors": filled("&a ", MAX_FILE_BYTES),
    "tags": filled("!a ", MAX_FILE_BYTES),
    "documents": filled("---\n", MAX_FILE_BYTES),
    "directives": filled("%A\n", MAX_FILE_BYTES),
    "base 60": f"data: {{batch_size: 1{filled(':59', MAX_FILE_BYTES - 40)}}}",
    "a million bytes": filled("[", 1_000_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_neither_time_nor_memory(name: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(HOSTILE[name])
    started = time.process_time()
    message = message_of(file)
    assert time.process_time() - started < 1
    assert len(message) < 500 + len(str(file))
    assert "\n" not in message


def message_of(file: Path) -> str:
    """Return why a file is refused; empty if it is not."""
    try:
        read_settings(file)
    except UserError as error:
        return str(error)
    return ""


def test_the_memory_of_a_bomb_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "hostile.yaml"
    for name in ("aliases", "values"):
        file.write_text(HOSTILE[name])
        tracemalloc.start()
        with pytest.raises(UserError):
            read_settings(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6, name


@settings(max_examples=300, deadline=10_000)
@given(st.text(st.sampled_from("ab:-[]{}&*!?'\"\\|>%@#~<, \n\t0123.e"), max_size=200))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    try:
        parse_yaml(text)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
