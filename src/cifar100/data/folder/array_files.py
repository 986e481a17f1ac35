"""Read numpy's untrusted files: the header is compared with the file before memory is reserved."""

from __future__ import annotations

import io
import math
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cifar100.files.regular import open_regular
from cifar100.files.untrusted_zip import open_zip, read_member

_DTYPES = ("uint8", "int64", "float16", "float32")
"""The types of images, labels, logits and probabilities."""


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file that `numpy.save` wrote: uint8, int64, float16 or float32.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
        ValueError: it is not such a file, or declares more or less than it holds.
    """
    with open_regular(path) as file:
        return _read(file, os.fstat(file.fileno()).st_size)


def map_npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file as a map of it: pages are read when they are used.

    Writing to the array changes nothing in the file. The process ends if the file becomes shorter meanwhile, which
    `cifar100.files.atomic` never does: it replaces files. Windows does not replace a file that is mapped, so the whole
    array is read there.

    Raises:
        OSError, ValueError: as `read_npy`.
    """
    if os.name == "nt":
        return read_npy(path)
    with open_regular(path) as file:
        shape, dtype = _read_header(file, os.fstat(file.fileno()).st_size)
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)


def read_npz(
    path: Path, names: tuple[str, ...], *, optional: tuple[str, ...] = (), max_bytes: int
) -> dict[str, NDArray[Any]]:
    """Return the named arrays of a .npz file that `numpy.savez` or `savez_compressed` wrote.

    Args:
        path: the file.
        names: arrays that it must have.
        optional: arrays that it may have.
        max_bytes: maximum size of all arrays together, uncompressed.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
        Exception: zipfile and zlib raise many kinds for a damaged file.
    """
    max_members = len(names) + len(optional)
    with open_regular(path) as file, open_zip(file, max_members=max_members, max_bytes=max_bytes) as archive:
        found = {member.filename: member for member in archive.infolist()}
        missing = [name for name in names if f"{name}.npy" not in found]
        if missing:
            raise ValueError(f"it has no array {missing[0]!r}")
        present = [*names, *(name for name in optional if f"{name}.npy" in found)]
        contents = {name: read_member(archive, found[f"{name}.npy"]) for name in present}
    return {name: _read(io.BytesIO(content), len(content)) for name, content in contents.items()}


@contextmanager
def open_npy(path: Path) -> Iterator[NpyRows]:
    """Yield the array of a .npy file to read in parts, so that memory does not grow with the file.

    Raises:
        OSError, ValueError: as `read_npy`.
    """
    with open_regular(path) as file:
        shape, dtype = _read_header(file, os.fstat(file.fileno()).st_size)
        yield NpyRows(file, shape, dtype)


class NpyRows:
    """An array in an open file. Unlike a memory map, it raises if the file becomes shorter; a map ends the process."""

    def __init__(self, file: BufferedReader, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self._file = file
        self._offset = file.tell()

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from `start` to before `stop`.

        Raises:
            OSError, ValueError: the file cannot be read, or became shorter.
        """
        assert 0 <= start <= stop <= self.shape[0]
        shape = (stop - start, *self.shape[1:])
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._file.seek(self._offset + start * row_bytes)
        return _read_content(self._file, shape, self.dtype)


def _read(file: BufferedReader | io.BytesIO, num_bytes: int) -> NDArray[Any]:
    return _read_content(file, *_read_header(file, num_bytes))


def _read_header(file: BufferedReader | io.BytesIO, num_bytes: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format, expected (1, 0)")
    try:
        shape, is_fortran, dtype = readers[version](file)
    except Exception as error:  # numpy parses a header as Python, which raises many kinds on a crafted one
        raise ValueError("a damaged header") from error
    held = num_bytes - file.tell()
    if dtype.name not in _DTYPES or not dtype.isnative or is_fortran:
        raise ValueError(f"an array of type {dtype.name[:40]}, expected {' or '.join(_DTYPES)}")
    if any(type(size) is not int or size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"an array of {f'{shape}'[:80]} {dtype.name}, but {held:,} bytes")
    return shape, dtype


def _read_content(file: BufferedReader | io.BytesIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    content = bytearray(math.prod(shape) * dtype.itemsize)
    if file.readinto(content) != len(content):
        raise ValueError("the file became shorter")
    return np.frombuffer(content, dtype).reshape(shape)  # writable
