"""How the processes of a run wait for each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from cifar100.errors import UserError
from cifar100.training.distributed.processes import Processes


@dataclass
class FakeFabric:
    """One process; rank 0 sends it `sent`."""

    global_rank: int
    local_rank: int
    sent: Any = None
    log: list[str] = field(default_factory=list)

    def broadcast(self, outcome: Any) -> Any:
        self.log.append("broadcast")
        return outcome if self.global_rank == 0 else self.sent

    def barrier(self) -> None:
        self.log.append("barrier")


@pytest.mark.parametrize(
    ("rank", "local_rank", "expected"),
    [
        (0, 0, ["prepare", "broadcast", "barrier"]),
        (1, 1, ["broadcast", "barrier"]),
        (2, 0, ["broadcast", "prepare", "barrier"]),
        (3, 1, ["broadcast", "barrier"]),
    ],
)
def test_each_machine_prepares_once_and_after_rank_zero(rank: int, local_rank: int, expected: list[str]) -> None:
    fabric: Any = FakeFabric(rank, local_rank, sent="data")

    def prepare() -> str:
        fabric.log.append("prepare")
        return "data"

    assert Processes(fabric).do_once_on_each_machine(prepare) == "data"
    assert fabric.log == expected


def test_a_mistake_of_rank_zero_ends_all_and_is_reported_once() -> None:
    def fail() -> None:
        raise UserError("the name is taken")

    first: Any = FakeFabric(0, 0)
    with pytest.raises(UserError, match="the name is taken"):
        Processes(first).do_once(fail)
    assert first.log == ["broadcast"]
    other: Any = FakeFabric(1, 1, sent=UserError("the name is taken"))
    with pytest.raises(SystemExit):
        Processes(other).do_once(fail)
