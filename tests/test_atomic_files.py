from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from cifar100.atomic_files import remove_partial_files, replacing, write_atomically, write_json, writing_below
from cifar100.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_gets_its_name_once_it_is_complete(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path, durable=durable) as file:
        file.write(b"new content")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new content"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_durable_write_syncs_the_content_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "file", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(path.exists()))
    with replacing(path, durable=True) as file:
        file.write(b"content")
    assert seen == ([False, True] if os.name == "posix" else [False])  # the content, then the name
    seen.clear()
    write_atomically(path, b"content")
    assert seen == []


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json({"loss": [1.5, float("nan")]}, tmp_path / "file.json")
    text = (tmp_path / "file.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text)["loss"][0] == 1.5


def test_json_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_json(1, path)

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"file\.json cannot be written \(No space left on device\); free some space"):
        write_json(2, path)
    assert json.loads(path.read_text()) == 1
    assert names(tmp_path) == ["file.json"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EACCES, "Permission denied", "/a/file"), r"^/a/file cannot be written \(Permission denied\)"),
        (OSError(errno.ENOSPC, "No space left on device"), r"^root cannot be written \(No space left on device\)"),
        (OSError("reason"), r"^root cannot be written \(reason\)"),
    ],
)
def test_an_os_error_below_a_folder_is_one_line(error: OSError, message: str) -> None:
    with pytest.raises(UserError, match=message), writing_below(Path("root")):
        raise error


def test_other_errors_below_a_folder_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match="bug"), writing_below(Path("root")):
        raise ValueError("bug")


def test_what_killed_processes_leave_is_removed(tmp_path: Path) -> None:
    for name in (".a.png.123.partial", ".b.partial", "c.partial", ".hidden", "a.png"):
        (tmp_path / name).write_bytes(b"")
    remove_partial_files(tmp_path)
    assert names(tmp_path) == [".hidden", "a.png", "c.partial"]
