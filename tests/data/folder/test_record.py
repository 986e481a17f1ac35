from __future__ import annotations

import os
from pathlib import Path

from cifar100.data.folder.record import RECORD, begin_record, read_record, stamp_of, stamps_of, write_record


def test_a_record_is_read_back_in_order_and_leaves_out_what_is_missing(tmp_path: Path) -> None:
    names = ["b ü.png", "a.png", "gone.png"]
    for name in names[:2]:
        (tmp_path / name).write_text(name)
    stamps = stamps_of(tmp_path, names)
    write_record(tmp_path, stamps)
    assert list(read_record(tmp_path, max_files=2)) == names[:2]
    assert read_record(tmp_path, max_files=2) == stamps == {name: stamp_of(tmp_path, name) for name in names[:2]}


def test_size_and_time_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    before = stamp_of(tmp_path, "a")
    os.utime(file, ns=(0, 12345))
    assert stamp_of(tmp_path, "a") == (3, 12345) != before
    file.unlink()
    assert stamp_of(tmp_path, "a") is None
    assert stamp_of(tmp_path, "a\0b") is None


def test_a_record_that_is_begun_damaged_endless_or_no_file_is_none(tmp_path: Path) -> None:
    begin_record(tmp_path)
    assert read_record(tmp_path, max_files=9) == {}
    for content in (b"1 x a\n", b"\xff\n", b"1 2\n", b"1 2 a\n" + b"x" * 20_000, b"1 2 a\n3 4 b\n5 6 c\n"):
        (tmp_path / RECORD).write_bytes(content)
        assert read_record(tmp_path, max_files=2) == {}, content[:20]
    (tmp_path / RECORD).unlink()
    os.mkfifo(tmp_path / RECORD)
    assert read_record(tmp_path, max_files=9) == {}
