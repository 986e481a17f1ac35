from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cifar100.data.folder.array_files import read_npy, read_npz


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3), np.zeros((0, 3), np.uint8), np.ones(5, np.uint8)])
def test_arrays_are_read_back_as_numpy_wrote_them(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    result = read_npy(tmp_path / "a.npy")
    assert np.array_equal(result, array)
    assert (result.dtype, result.shape) == (array.dtype, array.shape)
    assert result.flags.writeable
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", first=array, second=array)
        assert np.array_equal(read_npz(tmp_path / "a.npz", ("first", "second"), max_bytes=10_000)["second"], array)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (10,)}", r"\(10,\) int64, but 16 bytes"),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (1,)}", r"\(1,\) int64, but 16 bytes"),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (10**30,)}", "."),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (-2, -1)}", r"\(-2, -1\)"),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (0, 10)}", "but 16 bytes"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", "type object, expected uint8 or int64"),
        ("{'descr': '>i8', 'fortran_order': False, 'shape': (2,)}", "type int64"),
        ("{'descr': '<i8', 'fortran_order': True, 'shape': (1, 2)}", "type int64"),
        ("{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (2,)}", "type void64"),
        ("(" * 60 + ")" * 60, "."),
        ("[]", "."),
    ],
)
def test_a_header_that_lies_is_refused(header: str, reason: str, tmp_path: Path) -> None:
    text = header.ljust(117).encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(16))
    with pytest.raises(ValueError, match=reason):
        read_npy(tmp_path / "a.npy")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            read_npy(path)
