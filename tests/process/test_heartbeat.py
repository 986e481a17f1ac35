from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from cifar100.process import heartbeat as module
from cifar100.process.heartbeat import heartbeat


class Memory:
    """A store of one process; `is_cut` makes it hang, as a connection over a cut cable does."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.is_cut = False

    def _wait(self) -> None:
        while self.is_cut:
            time.sleep(0.01)

    def set(self, key: str, value: str, /) -> None:
        self._wait()
        self.values[key] = value.encode()

    def get(self, key: str, /) -> bytes:
        self._wait()
        return self.values[key]

    def check(self, keys: list[str], /) -> bool:
        self._wait()
        return all(key in self.values for key in keys)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_BEATS", 0.05)
    memory = Memory()
    yield memory
    memory.is_cut = False


def test_two_machines_that_beat_lose_nothing(store: Memory) -> None:
    lost: list[str] = []
    with (
        heartbeat(store, machine=0, machines=2, lost=lost.append, silence=1.0),
        heartbeat(store, machine=1, machines=2, lost=lost.append, silence=1.0),
    ):
        time.sleep(2.5)
    assert lost == []


def test_a_machine_that_stops_beating_is_lost(store: Memory) -> None:
    lost: SimpleQueue[str] = SimpleQueue()
    store.values["cifar100/machine/1"] = b"5 other-host"
    with heartbeat(store, machine=0, machines=2, lost=lost.put, silence=0.5):
        reasons = [lost.get(timeout=60)]
    assert reasons == ["no heartbeat from another machine (other-host) for 0.5 s"]


def test_a_machine_that_has_ended_is_not_lost(store: Memory) -> None:
    lost: list[str] = []
    with heartbeat(store, machine=1, machines=2, lost=lost.append, silence=0.5):
        pass
    with heartbeat(store, machine=0, machines=2, lost=lost.append, silence=0.5):
        time.sleep(1.5)  # one look at the clock
    assert lost == []


def test_a_store_that_hangs_is_a_lost_machine(store: Memory) -> None:
    lost = threading.Event()
    with heartbeat(store, machine=1, machines=2, lost=lambda reason: lost.set(), silence=0.5):
        time.sleep(0.2)
        store.is_cut = True
        assert lost.wait(60)
        store.is_cut = False
