"""A result belongs to the weights with which it was computed, and to no others of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cifar100.runs.weights import Weights

WEIGHTS = Weights(checkpoint="last.ckpt", epoch=5, averaged=False, step=75)
RECORDED = {"checkpoint": "logs/a/lightning_checkpoints/last.ckpt", "epoch": 5, "averaged": False, "step": 75}


def test_a_checkpoint_says_which_weights_it_holds() -> None:
    content = {"state_dict": {}, "epoch": 4, "global_step": 75}
    assert Weights.of_checkpoint(Path("logs/a/last.ckpt"), content) == WEIGHTS
    averaged = {"weights": {}, "steps": 3}  # as in `last.ckpt`
    found = Weights.of_checkpoint(Path("x.ckpt"), {"state_dict": {}, "averaged": averaged})
    assert found == Weights(checkpoint="x.ckpt", epoch=0, averaged=True, step=None)


@pytest.mark.parametrize(
    "changes", [{}, {"checkpoint": "last.ckpt"}, {"checkpoint": "C:\\logs\\a\\last.ckpt"}, {"step": None}]
)
def test_results_of_these_weights(changes: dict[str, Any]) -> None:
    assert WEIGHTS.are_those_of({**RECORDED, **changes})


def test_results_of_earlier_versions_record_no_step() -> None:
    assert WEIGHTS.are_those_of({"checkpoint": "last.ckpt", "epoch": 5})


@pytest.mark.parametrize("changes", [{"checkpoint": "best.ckpt"}, {"epoch": 4}, {"averaged": True}, {"step": 60}])
def test_results_of_others(changes: dict[str, Any]) -> None:
    assert not WEIGHTS.are_those_of({**RECORDED, **changes})
