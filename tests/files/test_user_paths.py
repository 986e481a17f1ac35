from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument, user_path
from cifar100.runs.folder import RunFolder


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert user_path("~/a") == user_path(Path("~/a")) == tmp_path / "a"
    assert user_path("a/~") == Path("a/~")
    assert user_path(RunFolder(Path("logs/a"))) == Path("logs/a")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "'' is not a path"),
        ("a\0b", "is not a path"),
        pytest.param(
            "~nobody_of_this_name/a",
            "names the home folder of a user that does not exist",
            marks=pytest.mark.skipif(os.name != "posix", reason="Windows does not look whether there is such a user"),
        ),
        (5, "a path is expected, not int"),
        (None, "a path is expected, not NoneType"),
        (b"a", "a path is expected, not bytes"),
    ],
)
def test_anything_else_gets_one_line(path: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        user_path(path)


def test_a_command_to_copy_has_the_same_separators_everywhere() -> None:
    assert as_argument(PureWindowsPath(r"logs\a")) == as_argument(PurePosixPath("logs/a")) == "logs/a"
    assert as_argument(PureWindowsPath(r"C:\my data\a")) == "'C:/my data/a'"
    assert as_argument(PurePosixPath(r"a\b")) == r"'a\b'"
