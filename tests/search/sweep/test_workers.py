"""The devices of several workers."""

from __future__ import annotations

import os

import pytest

from cifar100.devices import ACCELERATORS, Accelerator
from cifar100.search.sweep.workers import Place, divide


def set_gpus(monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None = None) -> None:
    monkeypatch.setitem(ACCELERATORS, "cuda", Accelerator(lambda: count, str))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("count", "num_gpus", "visible", "expected"),
    [
        (2, 2, None, ["0", "1"]),
        (2, 5, None, ["0,1", "2,3,4"]),
        (3, 2, None, ["0", "1", "0"]),
        (2, 2, "4,6", ["4", "6"]),
        (2, 2, "GPU-a,GPU-b", ["GPU-a", "GPU-b"]),
    ],
)
def test_each_worker_has_its_gpus(
    count: int, num_gpus: int, visible: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_gpus(monkeypatch, num_gpus, visible)
    assert [place.gpus for place in divide(count, accelerator="auto")] == expected
    assert all(place.gpus is None for place in divide(count, accelerator="cpu"))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot choose processors")
@pytest.mark.parametrize(("count", "expected"), [(1, [(0, 1, 5)]), (2, [(0,), (1, 5)]), (4, [(0,), (1,), (5,), (0,)])])
def test_the_processors_are_divided(
    count: int, expected: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_gpus(monkeypatch, 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 0, 1})
    places = divide(count, accelerator="auto")
    assert places == [Place(processors=part, num_threads=len(part)) for part in expected]
