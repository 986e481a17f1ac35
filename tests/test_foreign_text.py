from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar100.foreign_text import csv_cell, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("apple", "apple"),
        ("naïve 猫 🐈", "naïve 猫 🐈"),
        ("[/b] [red]cat[/]", "[/b] [red]cat[/]"),
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("evil\u202egpj.exe", "evil\\u202egpj.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\udcff", "\\udcff"),
        (b"bytes", "b'bytes'"),
        (None, "None"),
    ],
)
def test_what_does_not_print_is_escaped(text: object, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_any_text_becomes_one_line_that_prints(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


def test_a_long_text_is_cut() -> None:
    assert printable("a" * 50, max_length=10) == "a" * 10 + "..."


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "plain, with comma"])
def test_no_cell_is_a_formula(text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([csv_cell(text)])
    (cell,) = next(csv.reader(io.StringIO(file.getvalue())))
    assert not cell.startswith(("=", "+", "-", "@", "\t"))
    assert cell.lstrip("'") == printable(text)
