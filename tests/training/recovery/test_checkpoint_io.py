"""Lightning's checkpoints go through our writer and reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cifar100.errors import UserError
from cifar100.training.recovery.checkpoint_io import SafeCheckpointIO


def content(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"state_dict": {"x": torch.tensor(value)}}


def test_the_checkpoint_before_is_kept_and_both_are_checked(tmp_path: Path) -> None:
    plugin, path = SafeCheckpointIO(), tmp_path / "last.ckpt"
    plugin.save_checkpoint(content(1.0), path)
    plugin.save_checkpoint(content(2.0), path)
    assert plugin.load_checkpoint(path)["state_dict"]["x"] == 2
    assert plugin.load_checkpoint(tmp_path / "previous.ckpt")["state_dict"]["x"] == 1
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        plugin.load_checkpoint(path)


def test_removing_takes_the_sum_along(tmp_path: Path) -> None:
    plugin, path = SafeCheckpointIO(), tmp_path / "other.ckpt"
    plugin.save_checkpoint(content(1.0), path)
    assert len(list(tmp_path.iterdir())) == 2
    plugin.remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []
