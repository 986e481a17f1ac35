"""Read the pickles of the official python version from untrusted files, and write files in that format."""

from __future__ import annotations

import functools
import io
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar100.errors import UserError

_MAX_OPERATIONS = 2_000_000
"""The official `train` has 200,000. Each creates an object of at most 64 bytes, apart from its bytes in the file."""

_MAX_TUPLES = 1000
"""The official files have six. Hashing a tuple that is nested a million deep overflows the interpreter's stack."""

_MAX_TEXT_BYTES = 2**20

_WIDE = re.compile(rb"[\xc4-\xff]")
"""The first byte of a character above 255, in UTF-8."""

_REUSABLE = frozenset(
    """
    BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 BINUNICODE SHORT_BINUNICODE BINUNICODE8
    EMPTY_LIST EMPTY_DICT GLOBAL STACK_GLOBAL REDUCE
    """.split()
)
"""Operations whose result a pickle may use twice."""

_OPERATIONS = _REUSABLE | frozenset(
    """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    APPEND APPENDS SETITEM SETITEMS BUILD
    """.split()
)
"""What protocols 2 to 5 need for dictionaries of numbers, strings, lists and arrays, apart from the memo."""


class _RefusedError(Exception):
    """What an untrusted pickle attempts, as the predicate of a sentence."""


def load_pickle(content: bytes, *, name: str = "the pickle") -> dict[str, Any]:
    """Read a dictionary of plain values and integer arrays without running any code that the pickle names.

    Python 2's strings become bytes, except in the keys. Arrays are expected as values of the dictionary itself.

    Args:
        content: the pickle; the caller limits its size.
        name: how error messages refer to it.

    Raises:
        UserError: the pickle is damaged, is not a dictionary, or attempts anything else.
    """
    try:
        _check_operations(content)
        table = _Unpickler(content).load()
        if not isinstance(table, dict):
            raise TypeError(f"it holds a {type(table).__name__}, expected a dictionary")
        return {_short_text(key): item.array if isinstance(item, _Array) else item for key, item in table.items()}
    except _RefusedError as refusal:
        reason = f"{refusal}"[:200].encode("unicode_escape").decode()
        raise UserError(
            f"{name} {reason}, which no CIFAR-100 file does; nothing was run. Do not trust this file; use the official "
            "archive."
        ) from None
    except Exception as error:  # a crafted or damaged pickle can raise anything
        reason = f"{error}"[:200].encode("unicode_escape").decode() or type(error).__name__
        raise UserError(
            f"{name} cannot be read as a pickle of CIFAR-100 ({reason}); use an intact official file."
        ) from error


def _check_operations(content: bytes) -> None:
    """Refuse what could exhaust memory or time; `find_class` refuses what could run code.

    The interpreter reserves a memo as long as its largest index: 32 GB for an index of four bytes. Hashing thirty
    tuples, each of which holds the previous one twice, takes 2^30 steps.
    """
    memo: dict[Any, str] = {}  # index -> the operation that created the object
    previous, num_tuples = "", 0
    argument: Any
    for count, (operation, argument, _) in enumerate(pickletools.genops(_Source(content))):
        name = operation.name
        if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = len(memo) if name == "MEMOIZE" else argument
            memo[index] = previous
            is_refused = index > count
        elif name in ("BINGET", "LONG_BINGET"):
            is_refused = memo.get(argument) not in _REUSABLE
        else:
            num_tuples += "TUPLE" in name
            is_refused = name not in _OPERATIONS or num_tuples > _MAX_TUPLES or count > _MAX_OPERATIONS
        if is_refused:
            raise _RefusedError(f"uses the pickle operation {name} as operation {count}")
        previous = previous if name == "FRAME" else name  # a frame may begin between an object and its memo entry


class _Source(io.BytesIO):
    """A pickle for `genops`. Refuses long text with characters that would take two or four bytes each in memory.

    The bytes of an image are text in pickles that Python 3 wrote in protocol 2: one character each, up to 255.
    """

    _operation = b""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size == 1:
            self._operation = content
        elif len(content) > _MAX_TEXT_BYTES and self._operation in b"VX\x8c\x8d" and re.search(_WIDE, content):
            raise _RefusedError("holds a long text in a foreign script")
        return content


class _Unpickler(pickle.Unpickler):
    """Admits numpy's reconstruction of arrays, and replaces each of its functions with one of ours."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        # Python 3 stores bytes in protocol 2 as a call of `encode`. A pickle can pass one large string many times.
        encode = functools.cache(lambda text, encoding: text.encode("latin1"))
        self._stand_ins: dict[tuple[str, str], Callable[..., Any]] = {**_STAND_INS, ("_codecs", "encode"): encode}

    def find_class(self, module: str, name: str, /) -> Callable[..., Any]:
        stand_in = self._stand_ins.get((module.replace("numpy.core.", "numpy._core."), name))  # numpy 1 and 2
        if stand_in is None:
            raise _RefusedError(f"asks for {module}.{name}")
        return lambda *args: stand_in(*args)  # a new function each time, since BUILD can set its attributes


class _DType:
    """A data type, from the arguments and the state that numpy stores."""

    def __init__(self, code: str | bytes, align: int = 0, copy: int = 0) -> None:
        self.code, self.byte_order = _short_text(code), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = _short_text(state[1])


class _Array:
    """An array, from the state that numpy stores: version, shape, data type, Fortran order, bytes."""

    array: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        self.array = _from_buffer(content, dtype, shape, "F" if is_fortran else "C").array


def _from_buffer(content: bytes, dtype: _DType, shape: tuple[int, ...], order: str | bytes) -> _Array:
    """Return an array that shares the memory of `content`; numpy allocates nothing and compares the lengths."""
    code = dtype.byte_order + dtype.code
    if not re.fullmatch(r"[<>=|]([ui][1248]|b1)", code):
        raise _RefusedError(f"holds an array of type {code[:20]!a}")
    result = _Array()
    result.array = np.frombuffer(content, code).reshape(shape, order="F" if _short_text(order) == "F" else "C")
    return result


def _short_text(value: Any) -> str:
    """Return text that Python 2 or 3 wrote."""
    if not isinstance(value, str | bytes) or len(value) > 100:
        raise TypeError(f"{type(value).__name__} instead of a short text")
    return value if isinstance(value, str) else value.decode("latin1")


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy._core.multiarray", "_reconstruct"): lambda *args: _Array(),
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,  # protocol 5
    ("numpy", "ndarray"): lambda *args: _Array(),  # an argument of `_reconstruct`
    ("numpy", "dtype"): _DType,
}


def dump_pickle(table: Mapping[str, Any]) -> bytes:
    """Return a dictionary as Python 2 wrote the official files: protocol 2, strings of bytes.

    Python 3's `pickle.dump` cannot write such strings: readers that pass `encoding="bytes"` get bytes keys, and readers
    that pass `encoding="latin1"` get text keys.

    Args:
        table: strings (stored as UTF-8), sequences of strings or of numbers 0..255, and uint8 arrays (N, K).
    """
    return b"\x80\x02}(" + b"".join(_dump(key) + _dump(value) for key, value in table.items()) + b"u."


def _dump(value: str | bytes | int | NDArray[np.uint8] | Sequence[str] | Sequence[int]) -> bytes:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"K" + value.to_bytes(1)
    if isinstance(value, np.ndarray):  # numpy 1's operations: an empty array, then version, shape, type, order, bytes
        empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        shape = b"J%bJ%b\x86" % tuple(struct.pack("<i", size) for size in value.shape)
        dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        return empty + b"(K\x01" + shape + dtype + b"\x89" + _dump(value.tobytes()) + b"tb"
    return b"](" + b"".join(map(_dump, value)) + b"e"
