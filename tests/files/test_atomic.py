from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import pytest
from ended_processes import ended_process, partial_of_ended_process

from cifar100.errors import UserError
from cifar100.files import atomic
from cifar100.files.atomic import (
    partial_path,
    remove_partial_files,
    replacing,
    write_atomically,
    write_json,
    writing_below,
)


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


def test_a_file_that_is_being_read_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    reader = path.open("rb")
    closing = threading.Timer(0.3, reader.close)  # on Windows the file cannot be replaced before
    closing.start()
    write_atomically(path, b"new")
    closing.join()
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_a_refused_rename_is_repeated_where_readers_hinder_it(
    seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, replace = [PermissionError(errno.EACCES, "in use")] * 3, Path.replace

    def refusing(path: Path, target: Path) -> Path:
        if refusals:
            raise refusals.pop()
        return replace(path, target)

    monkeypatch.setattr(atomic, "SECONDS_FOR_READERS", seconds)
    monkeypatch.setattr(Path, "replace", refusing)
    if seconds == 0:
        with pytest.raises(PermissionError):
            write_atomically(tmp_path / "file", b"new")
        assert names(tmp_path) == []
    else:
        write_atomically(tmp_path / "file", b"new")
        assert (tmp_path / "file").read_bytes() == b"new"


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
    nothing = float("nan")
    write_json({"loss": [1.5, nothing, (nothing, -1e400)], "deep": {"a": float("inf")}}, tmp_path / "file.json")
    text = (tmp_path / "file.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text, parse_constant=pytest.fail) == {"loss": [1.5, None, [None, None]], "deep": {"a": None}}


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
        (OSError(errno.ENOSPC, "full"), "; free some space or choose another folder"),
        (OSError(errno.EROFS, "read-only"), "; change its permissions or choose another folder"),
        (OSError(errno.ENOTDIR, "no folder", "/a/file"), "^/a/file .*; move away what is in its place"),
    ],
)
def test_an_os_error_below_a_folder_is_one_line(error: OSError, message: str) -> None:
    with pytest.raises(UserError, match=message), writing_below(Path("root")):
        raise error


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    place = re.escape(str(tmp_path / "file"))
    message = rf"^{place} cannot be written \(Is a directory\); move away what is in its place"
    with pytest.raises(UserError, match=message), writing_below(tmp_path):
        write_atomically(tmp_path / "file", b"content")
    assert names(tmp_path) == ["file"]


def test_other_errors_below_a_folder_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match="bug"), writing_below(Path("root")):
        raise ValueError("bug")


def test_what_ended_processes_leave_is_removed_and_nothing_else(tmp_path: Path) -> None:
    partial_of_ended_process(tmp_path / "a.png").touch()
    folder = partial_of_ended_process(tmp_path / "run")
    folder.mkdir()
    (folder / "config.yaml").touch()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with mock.patch.object(os, "getpid", return_value=living.pid):
        of_another = partial_path(tmp_path / "b.png")
    own = partial_path(tmp_path / "c.png")
    foreign = [".x.partial", "d.partial", ".e.png.123.partial", f".f.{ended_process()}-00000000.partial", ".hidden"]
    for name in (*foreign, of_another.name, own.name):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    assert names(tmp_path) == sorted([*foreign, of_another.name, own.name])
    living.communicate()
    remove_partial_files(tmp_path)
    assert names(tmp_path) == sorted([*foreign, own.name])


@pytest.mark.skipif(os.name != "posix", reason="FIFOs and links")
@pytest.mark.parametrize("kind", ["link", "fifo", "file"])
def test_nothing_is_written_through_what_stands_at_the_partial_name(kind: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    partial = partial_path(tmp_path / "file")
    if kind == "link":
        partial.symlink_to(precious)
    elif kind == "fifo":
        os.mkfifo(partial)
    else:
        partial.touch()
    write_atomically(tmp_path / "file", b"content")
    assert precious.read_text() == "precious"
    assert (tmp_path / "file").read_bytes() == b"content"
    assert not (tmp_path / "file").is_symlink()
