"""Pickle files of the official python version, read without running anything they ask for, and written.

A pickle is a program. This reader first walks its operations and refuses all but those that build plain values, then
runs it with stand-ins in place of the few numpy names that the official files use. numpy itself sees only a block of
bytes whose length has been compared with the shape.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Never

import numpy as np
from numpy.typing import NDArray

from cifar100.data.sources.pickle_operations import RefusedError, check_name, check_operations
from cifar100.errors import UserError

MAX_PICKLE_BYTES = 512 * 2**20
"""The official `train` file has 155 MB."""


def load_pickle(data: bytes | BinaryIO, *, name: str = "the pickle") -> dict[Any, Any]:
    """Read a dictionary of plain values and integer arrays; nothing in the pickle can run code.

    Python 2's strings become bytes. Arrays are read-only, and are expected as values of the dictionary itself.

    Args:
        data: the pickle or a file that holds it, of at most `MAX_PICKLE_BYTES`.
        name: what to call it in an error message.

    Raises:
        UserError: the pickle is damaged, too large, not a dictionary, or asks for anything else. It names the refused
            object.
    """
    content = data if isinstance(data, bytes) else data.read(MAX_PICKLE_BYTES + 1)
    if len(content) > MAX_PICKLE_BYTES:
        raise UserError(f"{name} is larger than {MAX_PICKLE_BYTES >> 20} MiB; expected a CIFAR-100 pickle.")
    try:
        check_operations(content, _STAND_INS)
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(value, dict):
            raise TypeError(f"it holds a {type(value).__name__}, not a dictionary")
        return {key: item.array if isinstance(item, _Array) else item for key, item in value.items()}
    except RefusedError as refusal:
        raise UserError(
            f"{name} {refusal}, which a CIFAR-100 file never does; nothing was run. Do not trust this file; use the "
            "official archive."
        ) from None
    except Exception as error:  # a crafted or damaged pickle can raise anything
        reason = f"{error}"[:200].encode("unicode_escape").decode() or type(error).__name__
        raise UserError(
            f"{name} cannot be read as a pickle of CIFAR-100 ({reason}); use an intact official file."
        ) from error


class _Unpickler(pickle.Unpickler):
    """Knows no name but the stand-ins."""

    def find_class(self, module: str, name: str, /) -> Any:
        check_name(module, name, _STAND_INS)
        return _STAND_INS[module, name]


class _Name:
    """A stand-in for an importable name: it can be called, never changed."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> Never:
        raise RefusedError("tries to change an imported name")


class _DType:
    """A data type, from the arguments and the state that numpy stores for it."""

    def __init__(self, code: str | bytes, align: int = 0, copy: int = 0) -> None:
        self._code = _text(code)
        if not re.fullmatch(r"[ui][1248]|b1", self._code):
            raise RefusedError(f"holds an array of type {self._code[:20]!a}")
        self._byte_order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._byte_order = _text(state[1])
        if self._byte_order not in ("<", ">", "=", "|"):
            raise RefusedError(f"holds an array of byte order {self._byte_order[:20]!a}")

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self._byte_order + self._code)


class _Array:
    """An array, from the state that numpy stores for it: version, shape, type, Fortran order, bytes."""

    array: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        self.array = _build_array(content, dtype, shape, "F" if is_fortran else "C")


def _build_array(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """Return a view of `content`, which must have exactly the length that shape and type ask for."""
    if not isinstance(dtype, _DType) or not isinstance(content, bytes | bytearray):
        raise RefusedError("holds an array of objects")
    if not isinstance(shape, tuple) or len(shape) > 4 or not all(type(n) is int and 0 <= n < 2**32 for n in shape):
        raise RefusedError("holds an array of a malformed shape")
    if len(content) != math.prod(shape) * dtype.numpy().itemsize:
        raise ValueError(f"{len(content)} bytes for an array of shape {shape}")
    array = np.frombuffer(bytes(content), dtype.numpy())
    return array.reshape(shape, order="F" if order in ("F", b"F") else "C")


def _reconstruct(subtype: Any, shape: Any, type_code: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> _Array:
    if axis_order is not None:
        raise RefusedError("holds an array with permuted axes")
    result = _Array()
    result.array = _build_array(content, dtype, shape, order)
    return result


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which Python 3 stores bytes in protocol 2."""
    if _text(encoding) != "latin1":
        raise RefusedError(f"encodes text as {_text(encoding)[:20]!a}")
    return text.encode("latin1")


def _text(value: Any) -> str:
    """Return text that Python 2 or 3 wrote."""
    if not isinstance(value, str | bytes):
        raise TypeError(f"{type(value).__name__} in place of text")
    return value if isinstance(value, str) else value.decode("ascii")


def _not_called(*args: Any) -> Never:
    raise RefusedError("makes an array in an unexpected way")


_STAND_INS: dict[tuple[str, str], _Name] = {
    ("numpy.core.multiarray", "_reconstruct"): _Name(_reconstruct),  # numpy 1
    ("numpy._core.multiarray", "_reconstruct"): _Name(_reconstruct),  # numpy 2
    ("numpy.core.numeric", "_frombuffer"): _Name(_from_buffer),  # protocol 5
    ("numpy._core.numeric", "_frombuffer"): _Name(_from_buffer),
    ("numpy", "ndarray"): _Name(_not_called),  # only ever an argument of `_reconstruct`
    ("numpy", "dtype"): _Name(_DType),
    ("_codecs", "encode"): _Name(_encode),
}


def dump_pickle(values: Mapping[str, str | Sequence[str] | Sequence[int] | NDArray[np.uint8]]) -> bytes:
    """Write a dictionary as Python 2 wrote the official files: protocol 2, strings of bytes.

    Read with `encoding="bytes"` it has bytes keys, with `encoding="latin1"` text keys, as the official files do. Only
    the memo entries are left out, which nothing refers to.

    Args:
        values: strings (stored as UTF-8), lists of strings or of numbers 0..255, and arrays of two dimensions.
    """
    items = b"".join(_dump(key) + _dump(value) for key, value in values.items())
    return b"\x80\x02}(" + items + b"u."


def _dump(value: str | int | Sequence[str] | Sequence[int] | NDArray[np.uint8]) -> bytes:
    if isinstance(value, str):
        return _dump_bytes(value.encode())
    if isinstance(value, int):
        return b"K" + value.to_bytes(1, "little")
    if isinstance(value, np.ndarray):
        return _dump_array(value)
    return b"](" + b"".join(_dump(item) for item in value) + b"e"


def _dump_bytes(value: bytes) -> bytes:
    if len(value) < 256:
        return b"U" + struct.pack("<B", len(value)) + value
    return b"T" + struct.pack("<i", len(value)) + value


def _dump_array(array: NDArray[np.uint8]) -> bytes:
    """Return numpy 1's operations: an empty array, then its version, shape, type, order and bytes."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"".join(b"J" + struct.pack("<i", size) for size in array.shape) + b"\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return empty + b"(K\x01" + shape + dtype + b"\x89" + _dump_bytes(array.tobytes()) + b"tb"
