from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cifar100.errors import UserError
from cifar100.runs.checkpoints import load_weights, open_checkpoint, read_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.training.recovery.checkpoint_io import SafeCheckpointIO


def checkpoint_of(network: nn.Module) -> dict[str, Any]:
    return {"state_dict": {f"network.{name}": value for name, value in network.state_dict().items()}, "epoch": 3}


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    SafeCheckpointIO().save_checkpoint(checkpoint_of(network), tmp_path / "folder" / "last.ckpt")
    other = nn.Linear(3, 2)
    path = tmp_path / "folder" / "last.ckpt"
    load_weights(other, SafeCheckpointIO().load_checkpoint(path), path)
    assert torch.equal(network.weight, other.weight)
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]


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
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]
    assert read_checkpoint(path)["epoch"] == 3


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
    with pytest.raises(UserError, match="is damaged: its sha256 is not"):
        read_checkpoint(path)
    path.with_name("last.ckpt.sha256").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(path)


def test_something_else_than_a_checkpoint_gets_one_line(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(UserError, match="not a checkpoint of a training run"):
        read_checkpoint(tmp_path / "list.ckpt")


@pytest.mark.parametrize(
    ("network", "difference"),
    [
        (nn.Linear(4, 2), r"weight is \(2, 4\) in it and \(2, 3\) in the network"),
        (nn.Linear(3, 2, bias=False), "bias is missing in it"),
        (nn.Sequential(nn.Linear(3, 2)), "0.bias, which the network does not have"),
    ],
)
def test_another_architecture_is_named(network: nn.Module, difference: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=difference):
        load_weights(nn.Linear(3, 2), checkpoint_of(network), tmp_path / "best.ckpt")


def numbered(number: int) -> dict[str, Any]:
    return {"state_dict": {}, "epoch": number}


def test_which_checkpoint_is_found(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    told: list[str] = []
    with pytest.raises(UserError, match="has none yet"):
        open_checkpoint(run, "best", tell=told.append)
    last = run.checkpoints / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(numbered(1), last)
    assert open_checkpoint(run, "best", tell=told.append)[0] == last  # a run without validation images has no best
    SafeCheckpointIO().save_checkpoint(numbered(2), run.checkpoints / "best.ckpt")
    assert open_checkpoint(run, "best", tell=told.append)[1]["epoch"] == 2
    assert open_checkpoint(run, str(last), tell=told.append)[1]["epoch"] == 1
    with pytest.raises(UserError, match=r"no checkpoint other.ckpt; choose from: .*best.ckpt, .*last.ckpt"):
        open_checkpoint(run, "other.ckpt", tell=told.append)
    assert told == []


def test_the_newest_two_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    told: list[str] = []
    last = run.checkpoints / "last.ckpt"
    for number in (1, 2, 3):
        SafeCheckpointIO().save_checkpoint(numbered(number), last)
    assert read_checkpoint(last.with_name("previous.ckpt"))["epoch"] == 2
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    path, checkpoint = open_checkpoint(run, "last", tell=told.append)
    assert (path.name, checkpoint["epoch"]) == ("previous.ckpt", 2)
    assert told == [
        f"checkpoint {last} is damaged: its sha256 is not the one in last.ckpt.sha256. Using previous.ckpt instead."
    ]
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"previous.ckpt is damaged"):
        open_checkpoint(run, "last", tell=told.append)


class Killed(BaseException):
    pass


def test_killed_at_any_operation_a_whole_checkpoint_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die_at(operation: int) -> None:
        """Let the process die before its n-th change of the disk, and touch nothing after that."""
        left = [operation]

        def patched(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return function(*arguments, **options)

            return call

        for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync"), (torch, "save")):
            monkeypatch.setattr(owner, name, patched(getattr(owner, name)))

    died = 0
    for operation in range(40):
        run = RunFolder(tmp_path / str(operation))
        run.path.mkdir()
        last = run.checkpoints / "last.ckpt"
        for number in (1, 2):
            SafeCheckpointIO().save_checkpoint(numbered(number), last)
        die_at(operation)
        try:
            SafeCheckpointIO().save_checkpoint(numbered(3), last)
        except Killed:
            died += 1
        finally:
            monkeypatch.undo()
        path, checkpoint = open_checkpoint(run, "last", tell=pytest.fail)
        assert checkpoint["epoch"] in (2, 3)
        others = [file for file in run.checkpoints.glob("*.ckpt") if file != path]
        assert all(read_checkpoint(file)["epoch"] in (1, 2) for file in others)
    assert died > 10


@pytest.mark.parametrize("prefix", ["network._orig_mod.", "module.network.", "_orig_mod.network."])
def test_weights_load_whatever_they_were_wrapped_in(prefix: str) -> None:
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    wrapped = {"state_dict": {f"{prefix}{name}": value for name, value in network.state_dict().items()}}
    load_weights(other, wrapped, Path("last.ckpt"))
    assert torch.equal(network.weight, other.weight)
