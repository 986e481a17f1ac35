"""More cases of whole files are in tests/test_settings.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cifar100.config.settings_file import flatten, naming, read_settings
from cifar100.errors import UserError


def test_values_come_in_the_types_of_their_settings(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("about: {a: b}\nrecipe: quickstart\ndata: {root: ~/data, batch_size: 3}\ntraining.max_epochs: 2\n")
    assert read_settings(file) == {
        "recipe": "quickstart",
        "data.root": Path.home() / "data",
        "data.batch_size": 3,
        "training.max_epochs": 2.0,
    }


def test_an_empty_file_and_empty_sections_hold_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("# nothing\n")
    assert read_settings(file) == {}
    file.write_text("model:\ndata: {}\n")
    assert read_settings(file) == {}


def test_flatten_refuses_what_is_given_twice() -> None:
    assert flatten({"data": {"root": 1}, "data.source": 2}, "") == {"data.root": 1, "data.source": 2}
    with pytest.raises(UserError, match=r"^data.root is given twice in it; remove one\.$"):
        flatten({"data": {"root": 1}, "data.root": 2}, " in it")


def test_naming_puts_the_file_first() -> None:
    with pytest.raises(UserError, match=r"^a.yaml: wrong$"), naming(Path("a.yaml")):
        raise UserError("wrong")


@pytest.mark.parametrize("kind", ["missing", "folder", "latin-1", "fifo"])
def test_a_file_that_cannot_be_read_gets_one_line(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "latin-1":
        file.write_bytes("data: {root: é}".encode("latin-1"))
    elif kind == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no FIFOs")
        os.mkfifo(file)
    with pytest.raises(
        UserError,
        match=r"mine.yaml (cannot be read|is not valid YAML|is not UTF-8 text; save it as UTF-8)( \(.*\); \w.*)?\.$",
    ) as caught:
        read_settings(file)
    assert "\n" not in str(caught.value)
