from __future__ import annotations

import os
from pathlib import Path

import pytest

from cifar100.files.regular import open_regular, open_to_append, read_bytes, read_json, read_text, why_not


def test_a_file_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"
    assert read_text(tmp_path / "file", limit=7) == "content"


@pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices")
@pytest.mark.parametrize("kind", ["folder", "fifo", "/dev/zero", "socket"])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        import socket

        server = socket.socket(socket.AF_UNIX)
        server.bind(os.path.relpath(path))  # the path must be short
        server.close()
    else:
        path.symlink_to(kind)
    with pytest.raises(OSError):  # noqa: PT011  # a folder and a socket have messages of the system
        read_bytes(path, limit=100)
    with pytest.raises(OSError):  # noqa: PT011
        open_to_append(path)


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_bytes(path, limit=10)
    path.write_bytes(b"0123456789")
    assert read_bytes(path, limit=10) == b"0123456789"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a file that reports no size")
def test_a_file_that_reports_no_size_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="larger"):
        read_bytes(Path("/proc/self/status"), limit=10)


def test_appending_goes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "log").symlink_to("precious")
    with pytest.raises(OSError, match="link"):
        open_to_append(tmp_path / "log")
    assert (tmp_path / "precious").read_text() == "precious"
    for line in (b"a\n", b"b\n"):
        with open_to_append(tmp_path / "new") as file:
            file.write(line)
    assert (tmp_path / "new").read_text() == "a\nb\n"


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"a": [NaN, Infinity, -Infinity, 1]}')
    assert read_json(path) == {"a": [None, None, None, 1]}
    for content in ("[" * 200_000, "{", "\ufeff{}", "a: b"):
        path.write_text(content)
        with pytest.raises(ValueError):  # noqa: PT011  # json's messages
            read_json(path)


def test_what_is_wrong_with_a_path_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to("away\x1b")
    (tmp_path / "loop").symlink_to("loop")
    assert why_not("regular file", tmp_path / "file") == why_not("folder", tmp_path) == ""
    assert why_not("regular file", tmp_path / "none") == why_not("folder", tmp_path / "file/below") == ""
    assert why_not("regular file", tmp_path / ("x" * 600)) == ""
    assert why_not("regular file", tmp_path) == "is not a regular file (a folder)"
    assert why_not("folder", tmp_path / "file") == "is a file, expected a folder"
    assert why_not("folder", tmp_path / "loop") == "is not a folder (a link that leads to itself)"
    lost = why_not("regular file", tmp_path / "lost")
    assert lost.startswith("is a link to away")
    assert lost.isprintable()
