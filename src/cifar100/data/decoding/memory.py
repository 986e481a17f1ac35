"""Bound the memory of all images that are decoded at the same time in a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

TOTAL_BYTES = 896 * 2**20
"""Of all images that a process decodes at the same time. A JPEG of 200 megapixels fits, and a PNG of 200."""


class Memory:
    """An amount of memory that threads reserve parts of, and wait for."""

    def __init__(self, total: int = TOTAL_BYTES) -> None:
        self.total = total
        self._free = total
        self._changed = Condition()

    @contextmanager
    def reserved(self, amount: int) -> Iterator[None]:
        """Reserve bytes, at most `total`, while the block runs. Waits until others have returned enough of theirs."""
        assert amount <= self.total, "would wait for ever"
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
