"""Notice that another machine of a run has gone: switched off, killed, or behind a cut cable.

A broken connection is an error at once, but a silent one is not: the kernel repeats what it sends for a quarter of an
hour, and a collective waits for as long as rank 0 may prepare data.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

SECONDS_BETWEEN_BEATS = 2.0

SECONDS_OF_SILENCE = 30.0
"""A machine that is silent for this long counts as gone."""


class Store(Protocol):
    """What a heartbeat needs of torch's store between processes."""

    def set(self, key: str, value: str, /) -> None:
        """Store a value."""

    def get(self, key: str, /) -> bytes:
        """Return a value; wait until there is one."""

    def check(self, keys: list[str], /) -> bool:
        """Return whether there are values."""


@contextmanager
def heartbeat(
    store: Store, *, machine: int, machines: int, lost: Callable[[str], None], silence: float = SECONDS_OF_SILENCE
) -> Iterator[None]:
    """Show the other machines that this one lives, and watch them, while the block runs.

    Args:
        store: between the machines; used by one thread only.
        machine: number of this machine, from 0.
        machines: how many there are.
        lost: called once, in another thread, with a phrase that names the machine that has gone.
        silence: seconds after which a machine counts as gone.
    """
    beats = _Beats(store, machine, [other for other in range(machines) if other != machine])
    threads = [
        threading.Thread(target=beats.beat, daemon=True, name="heartbeat"),
        threading.Thread(target=beats.watch, args=(lost, silence), daemon=True, name="watch the other machines"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        beats.ended.set()
        threads[0].join(timeout=2 * SECONDS_BETWEEN_BEATS)  # its last beat says that this machine has ended


class _Beats:
    """The state that the two threads share: one talks to the store and may hang, the other looks at the clock."""

    def __init__(self, store: Store, machine: int, others: list[int]) -> None:
        self.ended = threading.Event()
        self._store = store
        self._machine = machine
        self._values: dict[int, bytes] = dict.fromkeys(others, b"")
        self._heard = dict.fromkeys(others, time.monotonic())
        self._answered = time.monotonic()
        """When the store last answered."""

    def beat(self) -> None:
        """Count up in the store, and read the counts of the others, until the block ends."""
        number, name = 0, socket.gethostname()
        try:
            while not self.ended.wait(SECONDS_BETWEEN_BEATS if number else 0.0):
                number += 1
                self._store.set(_key(self._machine), f"{number} {name}")
                for other in self._values:
                    self._listen(other)
                self._answered = time.monotonic()
            self._store.set(_key(self._machine), _ENDED)
        except RuntimeError:  # the process that holds the store has ended; the collectives report it
            self.ended.set()

    def watch(self, lost: Callable[[str], None], silence: float) -> None:
        """Look for silence every second."""
        while not self.ended.wait(1.0):
            now = time.monotonic()
            gone = [other for other, heard in self._heard.items() if now - heard > silence]
            if now - self._answered > silence or gone:
                known = [self._values[other].decode().partition(" ")[2] for other in gone or self._values]
                names = ", ".join(sorted({name for name in known if name})) or "unknown"
                lost(f"no heartbeat from another machine ({names}) for {silence:g} s")
                return

    def _listen(self, other: int) -> None:
        value = self._store.get(_key(other)) if self._store.check([_key(other)]) else b""
        if value == _ENDED.encode():
            self._heard[other] = float("inf")
        elif value != self._values[other]:
            self._values[other], self._heard[other] = value, time.monotonic()


_ENDED = "ended"


def _key(machine: int) -> str:
    return f"cifar100/machine/{machine}"
