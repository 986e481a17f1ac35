"""What is saved of a run, when, and how it is written and read back safely."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from cifar100.errors import UserError
from cifar100.run_folder import RunFolder

NETWORK_PREFIX = "network."
"""The network's weights in a Lightning checkpoint carry the name of the attribute of `ImageClassifier`."""


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames, so that a crash or a full disk leaves the previous checkpoint whole.

    Lightning's own goes through the system's temporary folder and a copy, which can leave half a file. Reads with
    `weights_only=True`: a checkpoint is data and cannot run code.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the folder cannot be written, or the disk is full.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
                try:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(target)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as a RuntimeError
            reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
            mend = "free some space or make the folder writable"
            if target.is_file():
                mend = f"the previous one is kept; {mend}, then: cifar100 train --resume {target.parent.parent}"
            raise UserError(f"checkpoint {target} cannot be written ({reason}); {mend}.") from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint; see `read_checkpoint`."""
        return read_checkpoint(Path(path))


def checkpoint_callbacks(run: RunFolder, *, has_validation: bool) -> list[ModelCheckpoint]:
    """Return the callbacks that keep `best.ckpt` and `last.ckpt`.

    Best is by validation accuracy; without validation images there is no choice, and only the last is kept.
    """
    common: dict[str, Any] = {"dirpath": run.checkpoints, "enable_version_counter": False, "save_top_k": 1}
    last = ModelCheckpoint(filename="last", monitor=None, every_n_epochs=1, save_on_train_epoch_end=True, **common)
    if not has_validation:
        return [last]
    best = ModelCheckpoint(filename="best", monitor="val/accuracy", mode="max", auto_insert_metric_name=False, **common)
    return [best, last]


def find_checkpoint(run: RunFolder, which: str) -> Path:
    """Return the file of `best`, `last` or a path; `best` is the last one where a run has no validation images.

    Raises:
        UserError: there is no such file.
    """
    path = run.checkpoints / f"{which}.ckpt" if which in ("best", "last") else Path(which)
    if which == "best" and not path.is_file():
        path = run.checkpoints / "last.ckpt"
    if not path.is_file():
        known = sorted(str(file) for file in run.checkpoints.glob("*.ckpt"))
        listed = f"there are: {', '.join(known)}" if known else f"{run.path} has none yet; train it first"
        raise UserError(f"no checkpoint {path}; {listed}.")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, as data only.

    Raises:
        UserError: the file cannot be read or is no checkpoint of this program.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader of hostile files raises whatever it stumbles over
        raise UserError(f"checkpoint {path} cannot be read: it is damaged or holds more than weights.") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{path} is no checkpoint of a training run: it has no 'state_dict'.")
    return checkpoint


def load_weights(network: nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into a network, in place.

    Raises:
        UserError: they belong to another architecture; the message names the first difference.
    """
    weights = {
        name.removeprefix(NETWORK_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(NETWORK_PREFIX)
    }
    expected = network.state_dict()
    difference = _first_difference(weights, expected)
    if difference:
        raise UserError(f"checkpoint {path} is of another architecture than the run's config.yaml says: {difference}.")
    network.load_state_dict(weights)


def _first_difference(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            return f"{name} is missing in it"
        if name not in expected:
            return f"it has {name}, which the network has not"
        if weights[name].shape != expected[name].shape:
            return f"{name} is {tuple(weights[name].shape)} in it and {tuple(expected[name].shape)} in the network"
    return ""
