"""The files of a run's checkpoints: how they are written and read back safely. When: see `saving.py`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cifar100.atomic_files import replacing, sync_folder
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder

NETWORK_PREFIX = "network."
"""The network's weights in a Lightning checkpoint carry the name of the attribute of `ImageClassifier`."""


LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
"""The state of the run when it was saved last, and the time before: all that is needed to go on. The weights of the
epoch with the highest validation accuracy."""


def write_checkpoint(checkpoint: dict[str, Any], path: Path, *, previous: Path | None = None) -> None:
    """Write a checkpoint beside its target, wait for the disk, then rename; and its sha256 beside it.

    At every moment, also after a power cut, a checkpoint under one of these names is whole, and its sha256 is among
    those in the file beside it: while a file is replaced, both the old and the new sum stand there.

    previous: where what was at `path` goes to.

    Raises:
        UserError: the folder cannot be written, or the disk is full; what was there before is kept.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        new, old = {_sha256(partial)}, _known_sums(path)
        if previous is not None and path.is_file():
            _write_sums(previous, _known_sums(previous) | old)
            _write_sums(path, old | new)
            path.replace(previous)
            _write_sums(previous, old)
        else:
            _write_sums(path, old | new)
        partial.replace(path)
        sync_folder(path.parent)
        _write_sums(path, new)
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as a RuntimeError
        partial.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
        mend = "free some space or make the folder writable"
        if path.is_file():
            mend = f"the previous one is kept; {mend}, then: cifar100 train --resume {path.parent.parent}"
        raise UserError(f"checkpoint {path} cannot be written ({reason}); {mend}.") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def open_checkpoint(run: RunFolder, which: str, *, tell: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """Read `best`, `last` or a path; where that one of the run is damaged, the newest that is whole.

    `best` is the last one where a run has no validation images.

    tell: is given a line for each file that had to be passed over.

    Raises:
        UserError: there is no such file, or none is whole.
    """
    order = {"last": (LAST, PREVIOUS), "best": (BEST, LAST, PREVIOUS)}
    if which not in order:
        path = Path(which)
        if not path.is_file():
            raise _no_checkpoint(run, path)
        return path, read_checkpoint(path)
    present = [path for path in (run.checkpoints / name for name in order[which]) if path.is_file()]
    if not present:
        raise _no_checkpoint(run, run.checkpoints / order[which][0])
    for position, path in enumerate(present):
        try:
            return path, read_checkpoint(path)
        except UserError as error:
            if position == len(present) - 1:
                raise
            tell(f"{error} Using {present[position + 1].name} instead.")
    raise AssertionError


def _no_checkpoint(run: RunFolder, path: Path) -> UserError:
    known = sorted(str(file) for file in run.checkpoints.glob("*.ckpt"))
    listed = f"there are: {', '.join(known)}" if known else f"{run.path} has none yet; train it first"
    return UserError(f"no checkpoint {path}; {listed}.")


def has_saved_state(run: RunFolder) -> bool:
    """Whether there is anything to go on from."""
    return any((run.checkpoints / name).is_file() for name in (LAST, PREVIOUS))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_file(path: Path) -> Path:
    """Return the path of the file that holds a checkpoint's sha256."""
    return path.with_name(f"{path.name}.sha256")


def _known_sums(path: Path) -> set[str]:
    """Return the sums in the file beside a checkpoint, none where there is no such file."""
    try:
        lines = sums_file(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return set()
    return {line.split()[0] for line in lines if line.strip()}


def _write_sums(path: Path, sums: set[str]) -> None:
    """Write them in the format of `sha256sum -c`."""
    with replacing(sums_file(path), durable=True) as file:
        file.writelines(f"{digest}  {path.name}\n".encode() for digest in sorted(sums))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, as data only: `weights_only=True`, so that it cannot run code.

    Raises:
        UserError: the file is not what its sha256 says, cannot be read, or is no checkpoint of this program.
    """
    try:
        known = _known_sums(path)  # none beside a file of another program
        if known and _sha256(path) not in known:
            raise UserError(f"checkpoint {path} is damaged: its sha256 is not the one in {sums_file(path).name}.")
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read ({error.strerror}).") from error
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader of hostile files raises whatever it stumbles over
        raise UserError(f"checkpoint {path} cannot be read: it is damaged or holds more than weights.") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{path} is no checkpoint of a training run: it has no 'state_dict'.")
    return checkpoint


def load_weights(network: nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into a network, in place; their average where the run has averaged them.

    Raises:
        UserError: they belong to another architecture; the message names the first difference.
    """
    averaged = averaged_weights(checkpoint)
    if averaged is not None:
        checkpoint = {"state_dict": {f"{NETWORK_PREFIX}{name}": value for name, value in averaged.items()}}
    named = {_plain_name(str(name)): value for name, value in checkpoint["state_dict"].items()}
    weights = {
        name.removeprefix(NETWORK_PREFIX): value for name, value in named.items() if name.startswith(NETWORK_PREFIX)
    }
    expected = network.state_dict()
    difference = _first_difference(weights, expected)
    if difference:
        raise UserError(f"checkpoint {path} is of another architecture than the run's config.yaml says: {difference}.")
    network.load_state_dict(weights)


def averaged_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor] | None:
    """Return the averaged weights in a checkpoint, name -> tensor; None where there are none."""
    averaged = checkpoint.get("averaged")
    weights = averaged.get("weights") if isinstance(averaged, dict) else None
    return weights if isinstance(weights, dict) else None


def _plain_name(name: str) -> str:
    """Remove what torch.compile and DDP put into the names of weights."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def _first_difference(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            return f"{name} is missing in it"
        if name not in expected:
            return f"it has {name}, which the network has not"
        if weights[name].shape != expected[name].shape:
            return f"{name} is {tuple(weights[name].shape)} in it and {tuple(expected[name].shape)} in the network"
    return ""
