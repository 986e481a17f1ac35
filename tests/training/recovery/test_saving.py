"""What is saved beside Lightning's state, and how several processes decide."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cifar100.training.recovery.saving import (
    _maximum,
    random_state,
    restore_random_state,
)


class TwoRanks:
    """A strategy whose other rank holds `other`."""

    root_device = torch.device("cpu")

    def __init__(self, other: torch.Tensor) -> None:
        self.other = other

    def reduce(self, values: torch.Tensor, *, reduce_op: str) -> torch.Tensor:
        return torch.maximum(values, self.other) if reduce_op == "max" else values + self.other


def test_the_maximum_of_one_process_is_its_own() -> None:
    trainer: Any = SimpleNamespace(world_size=1)
    values = torch.tensor([15, 0])
    assert _maximum(trainer, values) is values


def test_the_maximum_over_two_processes_leaves_their_own_values() -> None:
    trainer: Any = SimpleNamespace(world_size=2, strategy=TwoRanks(torch.tensor([0, 1])))
    values = torch.tensor([15, 0])
    assert _maximum(trainer, values).tolist() == [15, 1]
    assert values.tolist() == [15, 0]


def test_the_random_state_is_restored() -> None:
    torch.manual_seed(3)
    state = random_state()
    expected = torch.rand(4)
    restore_random_state(state)
    assert torch.equal(torch.rand(4), expected)


def test_every_process_goes_on_with_the_random_state_of_the_gpu_of_rank_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 has never drawn from the generators of the other GPUs."""
    drawn, untouched = torch.ones(16, dtype=torch.uint8), torch.zeros(16, dtype=torch.uint8)
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device="of this process": restored.append(state))
    restore_random_state({"cpu": torch.get_rng_state(), "cuda": [drawn, untouched]})
    assert len(restored) == 1
    assert restored[0] is drawn


def test_the_random_state_of_apple_silicon_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.ones(44, dtype=torch.uint8)
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: drawn)
    monkeypatch.setattr(torch.mps, "set_rng_state", restored.append)
    restore_random_state(random_state())
    assert len(restored) == 1
    assert restored[0] is drawn
