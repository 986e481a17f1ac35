"""Sums of files, and the files beside them that hold their sums."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cifar100.files.checksums import file_sha256, known_sums, sums_file, write_sums


def test_the_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"weights" * 1000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path) == digest
    assert known_sums(path) == set()
    write_sums(path, {digest})
    assert sums_file(path) == tmp_path / "last.ckpt.sha256"
    assert known_sums(path) == {digest}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", sums_file(path).name], cwd=tmp_path, check=True, capture_output=True)


def test_several_sums_are_kept_while_a_file_is_replaced(tmp_path: Path) -> None:
    write_sums(tmp_path / "x", {"b" * 64, "a" * 64})
    assert known_sums(tmp_path / "x") == {"a" * 64, "b" * 64}
    assert [line[:1] for line in sums_file(tmp_path / "x").read_text().splitlines()] == ["a", "b"]


def test_what_is_no_file_of_sums_has_none(tmp_path: Path) -> None:
    sums_file(tmp_path / "x").write_bytes(b"\xff\xfe")
    assert known_sums(tmp_path / "x") == set()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(OSError, match="fifo"):
            file_sha256(tmp_path / "fifo")
