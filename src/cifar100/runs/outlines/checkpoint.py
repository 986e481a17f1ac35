"""Read the structure of an untrusted checkpoint, and none of its numbers: torch reserves whatever a file declares.

`outline` interprets the pickle of a file of `torch.save` without calling anything that the pickle names. It returns the
content with tensors on the device `meta`, which have a shape and no memory. Every storage is compared with its record
in the archive.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from cifar100.files.untrusted_zip import check_plain_layout, open_zip, read_member

MAX_PICKLE_BYTES = 32 * 2**20
MAX_OPERATIONS = 2_000_000
"""A ResNet-50 with AdamW and averaged weights has 40,000."""

MAX_DEPTH = 40
MAX_MEMBERS = 50_000

_DTYPES = {
    f"{name}Storage": dtype
    for name, dtype in (
        *(("Float", torch.float32), ("Double", torch.float64), ("Half", torch.float16), ("BFloat16", torch.bfloat16)),
        *(("Byte", torch.uint8), ("Char", torch.int8), ("Short", torch.int16), ("Int", torch.int32)),
        *(("Long", torch.int64), ("Bool", torch.bool)),
    )
}
"""The storages of torch's dense tensors; a checkpoint of this program has no others."""


class _Global(NamedTuple):
    module: str
    name: str


class Storage(NamedTuple):
    """The numbers that tensors share."""

    dtype: torch.dtype
    length: int

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return self.length * self.dtype.itemsize


def outline(file: BinaryIO, *, num_bytes: int, max_bytes: int | None = None) -> Any:
    """Return the content of a file of `torch.save`, with tensors on the device `meta`.

    Args:
        file: the file; it is left open.
        num_bytes: its size.
        max_bytes: maximum size of all tensors together.

    Raises:
        ValueError: it holds something else than plain values and dense tensors; or a tensor is not whole, has elements
            that overlap, or is larger than the file.
        Exception: zipfile raises many kinds for a damaged file.
    """
    with open_zip(file, max_members=MAX_MEMBERS, max_bytes=num_bytes) as archive:
        check_plain_layout(file, archive)
        members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
        total = sum(member.file_size for name, member in members.items() if name.startswith("data/"))
        if max_bytes is not None and total > max_bytes:
            raise ValueError(f"its tensors have {total:,} bytes, expected at most {max_bytes:,}")
        if len({member.filename.partition("/")[0] for member in archive.infolist()}) != 1:
            raise ValueError("its members are in several folders")
        if "data.pkl" not in members or members["data.pkl"].file_size > MAX_PICKLE_BYTES:
            raise ValueError("it has no data.pkl, or a larger one than any checkpoint")
        if "byteorder" in members and read_member(archive, members["byteorder"]) != b"little":
            raise ValueError("its numbers are not little-endian")
        sizes = {name.removeprefix("data/"): member.file_size for name, member in members.items()}
        content = Interpreter(sizes).run(read_member(archive, members["data.pkl"]))
    check_extent(content)
    return content


class Interpreter:
    """Interprets the operations of a pickle. Keys are text or whole numbers, so that nothing nested is ever hashed.

    Args:
        sizes: name of a storage -> its bytes in the archive.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, content: bytes | BinaryIO) -> Any:
        """Return the object that a pickle describes. A file is read up to the end of the pickle."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if operation.name == "STOP":
                return self._stack.pop()
            if count > MAX_OPERATIONS:
                raise ValueError("its pickle is longer than that of any checkpoint")
            self._interpret(operation.name, argument)
        raise ValueError("its pickle has no end")

    def _interpret(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _ARGUMENTS:
            self._stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name in _STEPS:
            _STEPS[name](self)
        elif name == "GLOBAL":
            self._stack.append(_Global(*argument.split(" ", 1)))
        elif name != "PROTO":
            raise ValueError(f"its pickle uses the operation {name}")

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        entries = self._stack[start:]
        del self._stack[start:]
        return entries

    def _take(self, number: int) -> list[Any]:
        if len(self._stack) < number:
            raise ValueError("its pickle takes values from an empty stack")
        entries = self._stack[-number:]
        del self._stack[-number:]
        return entries

    def _extend(self, entries: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError(f"its pickle appends to a {type(target).__name__}")
        target.extend(entries)

    def _set(self, entries: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(entries) % 2:
            raise ValueError(f"its pickle sets an entry of a {type(target).__name__}")
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            if type(key) not in (str, int):
                raise ValueError(f"a key is a {type(key).__name__}, expected text or a whole number")
            target[key] = value

    def _build(self) -> None:
        """Set the attributes of an object: of an OrderedDict only `_metadata`, which a state dict has."""
        target, attributes = self._stack[-2], self._take(1)[0]
        if type(target) is not dict or type(attributes) is not dict or attributes.keys() - {"_metadata"}:
            raise ValueError("an object has attributes, expected plain values")

    def _call(self) -> None:
        function, arguments = self._take(2)
        if not isinstance(function, _Global) or type(arguments) is not tuple or function not in _CALLS:
            shown = ".".join(function)[:80] if isinstance(function, _Global) else type(function).__name__
            raise ValueError(f"it holds {shown!a}, expected plain values and dense tensors")
        self._stack.append(_CALLS[function](*arguments))

    def _load_storage(self) -> None:
        [identity] = self._take(1)
        kind, storage, key, location, length = self._identity(identity)
        dtype = _DTYPES.get(storage.name) if isinstance(storage, _Global) and storage.module == "torch" else None
        if kind != "storage" or dtype is None or type(location) is not str or type(length) is not int:
            raise ValueError("it holds a tensor that is not dense, expected plain values and dense tensors")
        self._check_storage(key, Storage(dtype, length))
        self._stack.append(Storage(dtype, length))

    def _identity(self, identity: Any) -> Any:
        """Return kind, type, name, location and length in the identity of a storage."""
        return identity

    def _check_storage(self, name: Any, storage: Storage) -> None:
        if self._sizes.get(name) != storage.num_bytes:
            found = self._sizes.get(name)
            raise ValueError(f"a tensor declares {storage.length:,} elements, but its record has {found} bytes")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any, hooks: Any) -> Tensor:
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, Storage) or not all(type(value) is int and value >= 0 for value in numbers):
        raise ValueError("a tensor has a negative or fractional size")
    if len(shape) != len(stride) or len(shape) > MAX_DEPTH or hooks != {} or type(requires_grad) is not bool:
        raise ValueError("a tensor has a malformed description")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    number = math.prod(shape)
    if number and (number > storage.length or last >= storage.length):
        raise ValueError(f"a tensor of {tuple(shape)} has only {storage.length:,} elements in the file")
    result = torch.empty(shape if number else [min(size, 1) for size in shape], dtype=storage.dtype, device="meta")
    return result.requires_grad_(requires_grad) if requires_grad and result.is_floating_point() else result


def _parameter(data: Any, requires_grad: Any, hooks: Any) -> Tensor:
    if not isinstance(data, Tensor) or hooks != {} or type(requires_grad) is not bool:
        raise ValueError("a parameter has a malformed description")
    return torch.empty_like(data).requires_grad_(requires_grad and data.is_floating_point())


def _ordered_dict(*arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise ValueError("a mapping has a malformed description")
    return {}


def _size(*arguments: Any) -> tuple[int, ...]:
    [sizes] = arguments
    if type(sizes) is not tuple or not all(type(size) is int for size in sizes):
        raise ValueError("a size has a malformed description")
    return sizes


_CALLS: dict[Any, Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch", "Size"): _size,
}

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}

_ARGUMENTS = frozenset("BINUNICODE BININT BININT1 BININT2 LONG1 BINFLOAT".split())

_STEPS: dict[str, Callable[[Interpreter], None]] = {
    "MARK": Interpreter._mark,
    "TUPLE": lambda state: state._stack.append(tuple(state._since_mark())),
    "TUPLE1": lambda state: state._stack.append(tuple(state._take(1))),
    "TUPLE2": lambda state: state._stack.append(tuple(state._take(2))),
    "TUPLE3": lambda state: state._stack.append(tuple(state._take(3))),
    "APPEND": lambda state: state._extend(state._take(1)),
    "APPENDS": lambda state: state._extend(state._since_mark()),
    "SETITEM": lambda state: state._set(state._take(2)),
    "SETITEMS": lambda state: state._set(state._since_mark()),
    "BUILD": Interpreter._build,
    "REDUCE": Interpreter._call,
    "BINPERSID": Interpreter._load_storage,
}


def check_extent(content: Any) -> None:
    """Refuse what contains itself, is nested too deeply, or holds the same part so often that a copy would not end."""
    left = MAX_OPERATIONS

    def visit(value: Any, depth: int) -> None:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise ValueError("its content is nested too deeply, or endless")
        if isinstance(value, (_Global, Storage)):
            raise ValueError("it holds a bare storage or type")
        if isinstance(value, (dict, list, tuple)):
            for entry in value.values() if isinstance(value, dict) else value:
                visit(entry, depth + 1)

    visit(content, 0)
