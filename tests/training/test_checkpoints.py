from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cifar100.errors import UserError
from cifar100.run_folder import RunFolder
from cifar100.training.checkpoints import SafeCheckpointIO, find_checkpoint, load_weights, read_checkpoint


def checkpoint_of(network: nn.Module) -> dict[str, Any]:
    return {"state_dict": {f"network.{name}": value for name, value in network.state_dict().items()}, "epoch": 3}


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    SafeCheckpointIO().save_checkpoint(checkpoint_of(network), tmp_path / "folder" / "last.ckpt")
    other = nn.Linear(3, 2)
    path = tmp_path / "folder" / "last.ckpt"
    load_weights(other, SafeCheckpointIO().load_checkpoint(path), path)
    assert torch.equal(network.weight, other.weight)
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_failed_write_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(checkpoint_of(nn.Linear(3, 2)), path)
    before = path.read_bytes()

    def full(checkpoint: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="the previous one is kept"):
        SafeCheckpointIO().save_checkpoint(checkpoint_of(nn.Linear(3, 2)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Malicious:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    sentinel, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    torch.save({"state_dict": {"a": Malicious(f"touch {sentinel}")}}, path)
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(path)
    assert not sentinel.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a checkpoint", b"\x80\x02."])
def test_a_damaged_checkpoint_gets_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(path)


def test_a_truncated_checkpoint_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(checkpoint_of(nn.Linear(30, 20)), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(path)


def test_something_else_than_a_checkpoint_gets_one_line(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(UserError, match="no checkpoint of a training run"):
        read_checkpoint(tmp_path / "list.ckpt")


@pytest.mark.parametrize(
    ("network", "difference"),
    [
        (nn.Linear(4, 2), r"weight is \(2, 4\) in it and \(2, 3\) in the network"),
        (nn.Linear(3, 2, bias=False), "bias is missing in it"),
        (nn.Sequential(nn.Linear(3, 2)), "0.bias, which the network has not"),
    ],
)
def test_another_architecture_is_named(network: nn.Module, difference: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=difference):
        load_weights(nn.Linear(3, 2), checkpoint_of(network), tmp_path / "best.ckpt")


def test_which_checkpoint_is_found(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(UserError, match="has none yet"):
        find_checkpoint(run, "best")
    run.checkpoints.mkdir()
    last = run.checkpoints / "last.ckpt"
    last.touch()
    assert find_checkpoint(run, "best") == last  # a run without validation images has no best
    (run.checkpoints / "best.ckpt").touch()
    assert find_checkpoint(run, "best").name == "best.ckpt"
    assert find_checkpoint(run, str(last)) == last
    with pytest.raises(UserError, match=r"no checkpoint other.ckpt; there are: .*best.ckpt, .*last.ckpt"):
        find_checkpoint(run, "other.ckpt")
