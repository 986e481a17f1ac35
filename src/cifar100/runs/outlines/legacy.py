"""Read the structure of an untrusted file of torch before 1.6, as `outlines.checkpoint` does for those since then.

Such a file is a sequence of pickles: a magic number, a version, facts about the machine, the content, and the names of
its storages. The numbers of each storage follow, after their count. Many published weights have this format.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

from cifar100.runs.outlines.checkpoint import MAX_PICKLE_BYTES, Interpreter, Storage, check_extent

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


def legacy_outline(file: BinaryIO, *, num_bytes: int, max_bytes: int) -> Any:
    """Return the content of a file, with tensors on the device `meta`.

    Args:
        file: the file; it is left open.
        num_bytes: its size.
        max_bytes: maximum size of all tensors together.

    Raises:
        ValueError: it holds something else than plain values and dense tensors, or a tensor is not whole.
        Exception: pickletools raises many kinds for a damaged file.
    """
    start = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    if (_plain(start), _plain(start)) != (MAGIC, VERSION):
        raise ValueError("it does not begin as a file of torch")
    machine = _plain(start)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian")
    interpreter = _LegacyInterpreter()
    content = interpreter.run(start)
    names, storages = _plain(start), interpreter.storages
    if type(names) is not list or sorted(map(str, names)) != sorted(storages):
        raise ValueError("its list of storages is not that of its tensors")
    total = sum(storage.num_bytes for storage in storages.values())
    if total > max_bytes:
        raise ValueError(f"its tensors have {total:,} bytes, expected at most {max_bytes:,}")
    position = start.tell()
    for name in names:
        file.seek(position)
        (length,) = struct.unpack("<q", file.read(8))
        if length != storages[name].length:
            raise ValueError(f"a storage has {length:,} elements, but its tensors declare {storages[name].length:,}")
        position += 8 + storages[name].num_bytes
    if position != num_bytes:
        raise ValueError(f"it has {num_bytes:,} bytes, but its tensors end at {position:,}")
    check_extent(content)
    return content


def _plain(start: BinaryIO) -> Any:
    """Return the next object, which has no tensors."""
    return Interpreter({}).run(start)


class _LegacyInterpreter(Interpreter):
    """Interprets the content of a file, whose storages are named before their sizes are known."""

    def __init__(self) -> None:
        super().__init__({})
        self.storages: dict[str, Storage] = {}

    def _identity(self, identity: Any) -> Any:
        *known, view = identity
        if view is not None:
            raise ValueError("a storage is a part of another one")
        return known

    def _check_storage(self, name: Any, storage: Storage) -> None:
        if type(name) is not str or storage.length < 0 or self.storages.setdefault(name, storage) != storage:
            raise ValueError("a storage is described in two ways")
