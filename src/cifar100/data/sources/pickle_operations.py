"""Look through the operations of a pickle before it is run, and refuse what could call, import or exhaust anything."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Container
from typing import Any

MAX_TUPLES = 1000
"""The official files hold about ten. Hashing a tuple nested a million deep overflows the stack of the interpreter."""

_OPERATIONS = frozenset(
    """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINSTRING SHORT_BINSTRING BINBYTES
    SHORT_BINBYTES BINBYTES8 BYTEARRAY8 BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST APPEND APPENDS LIST
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS BINPUT LONG_BINPUT MEMOIZE BINGET
    LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD NEWOBJ NEWOBJ_EX
    """.split()
)
"""What protocols 2 to 5 need for dictionaries of numbers, strings, lists and arrays; and NEWOBJ, which always fails
here because no stand-in is a class, so that the message names the class."""

_TUPLES = frozenset({"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})

_MEMORABLE = _TUPLES | frozenset(
    """
    BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 BINUNICODE SHORT_BINUNICODE BINUNICODE8
    EMPTY_LIST LIST EMPTY_DICT DICT GLOBAL STACK_GLOBAL REDUCE
    """.split()
)
"""Operations after which a pickler stores the new object in the memo."""


class RefusedError(Exception):
    """What the pickle asks for, as the predicate of a sentence."""


def check_operations(content: bytes, allowed: Container[tuple[str, str]]) -> None:
    """Refuse a pickle with operations that an official file never uses; runs none of them.

    Args:
        content: a pickle.
        allowed: modules and names that it may import.

    Raises:
        RefusedError: the first forbidden name, or else the first forbidden operation.
        ValueError: the pickle is damaged or of protocol 0 or 1.
    """
    refusal, previous, num_tuples, memo = "", "", 0, _Memo()
    for operation, argument, _ in pickletools.genops(content):
        name = operation.name
        if name in ("GLOBAL", "INST"):
            module, _, imported = str(argument).partition(" ")
            check_name(module, imported, allowed)
        if name not in _OPERATIONS:
            refusal = refusal or f"uses the pickle operation {name}"
        refusal = refusal or memo.objection(name, argument, previous)
        num_tuples += name in _TUPLES
        previous = previous if name == "FRAME" else name  # a frame may begin between an object and its memo entry
    if num_tuples > MAX_TUPLES:
        refusal = refusal or f"holds {num_tuples} tuples"
    if refusal and content[:1] != pickle.PROTO:
        raise ValueError("it has pickle protocol 0 or 1, not 2 to 5")
    if refusal:
        raise RefusedError(refusal)


def check_name(module: str, name: str, allowed: Container[tuple[str, str]]) -> None:
    """Refuse the import of any other name than the allowed ones.

    Raises:
        RefusedError: names it.
    """
    if (module, name) not in allowed:
        raise RefusedError(f"asks for {module}.{name}"[:200].encode("unicode_escape").decode())


class _Memo:
    """Follows the memo, by which a pickle uses an object again, without having the objects.

    Two things in it must not happen. The interpreter reserves a table as long as the largest index: 32 GB for the
    largest of four bytes. And thirty tuples that each hold the one before twice take 2^30 steps to hash.
    """

    def __init__(self) -> None:
        self._is_tuple: dict[int, bool] = {}

    def objection(self, name: str, argument: Any, previous: str) -> str:
        """Return what is wrong with the operation `name` after `previous`; nothing if it is harmless."""
        if name in ("BINGET", "LONG_BINGET"):
            return "uses a tuple twice" if self._is_tuple.get(argument) else ""
        if name not in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            return ""
        index = len(self._is_tuple) if name == "MEMOIZE" else argument
        if index > len(self._is_tuple) + 1:
            return f"uses memo entry {index} after {len(self._is_tuple)} entries"
        if previous not in _MEMORABLE:
            return f"uses the pickle operation {name} after {previous}"
        self._is_tuple[index] = previous in _TUPLES
        return ""
