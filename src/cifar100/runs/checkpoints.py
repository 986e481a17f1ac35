"""Write and read the checkpoint files of a run safely. `training/recovery/saving.py` decides when."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cifar100.errors import UserError
from cifar100.files.atomic import open_new, partial_path, put_in_place, sync_folder
from cifar100.files.checksums import file_sha256, known_sums, sums_file, write_sums
from cifar100.files.regular import open_regular
from cifar100.files.schema import fields, map_of, mismatch, number, whole
from cifar100.files.user_paths import user_path
from cifar100.foreign_text import reason
from cifar100.runs.folder import BEST, LAST, PREVIOUS, RunFolder, how_to_resume
from cifar100.runs.outlines.checkpoint import outline
from cifar100.runs.weights import Weights

NETWORK_PREFIX = "network."
"""Prefix of the network's weights in a Lightning checkpoint: the name of the attribute of `ImageClassifier`."""

OWN_STATE = "cifar100"
"""Key of this project's part of a checkpoint: version, finished epochs, settings, random state."""


def write_checkpoint(checkpoint: dict[str, Any], path: Path, *, previous: Path | None = None) -> None:
    """Write a checkpoint and its sha256 atomically: beside the target, synchronised to disk, then renamed.

    At every moment, even after a power failure, a checkpoint under one of these names is complete, and its sha256 is in
    the file beside it. While a checkpoint is replaced, that file holds both the old and the new sum.

    Args:
        checkpoint: the content.
        path: the target.
        previous: new path of the file that is at `path` now.

    Raises:
        UserError: the folder cannot be written, or the disk is full. The old file is kept.
    """
    partial = partial_path(path)
    try:
        path.parent.mkdir(exist_ok=True)
        with open_new(partial) as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        new, old = {file_sha256(partial)}, known_sums(path)
        if previous is not None and path.is_file():
            write_sums(previous, known_sums(previous) | old)
            write_sums(path, old | new)
            put_in_place(path, previous)
            write_sums(previous, old)
        else:
            write_sums(path, old | new)
        put_in_place(partial, path)
        sync_folder(path.parent)
        write_sums(path, new)
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as a RuntimeError
        partial.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
        fix = "free some space or make the folder writable"
        if path.is_file():
            run = RunFolder(path.parent.parent)
            fix = f"the previous one is kept; {fix}, then: {how_to_resume(run)}"
        raise UserError(f"checkpoint {path} cannot be written ({reason}); {fix}.") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def find_checkpoint(
    run: RunFolder, which: str | os.PathLike[str], *, tell: Callable[[str], None], max_bytes: int | None = None
) -> Path:
    """Return the path of `best`, `last` or a path. If `best` or `last` is damaged, that of the newest intact one.

    `best` means `last` for a run without validation images. No tensor is read into memory.

    Args:
        run: the run folder.
        which: `best`, `last` or a path.
        tell: called with one line for each damaged file.
        max_bytes: see `read_checkpoint`.

    Raises:
        UserError: there is no such file, or none is intact.
    """
    order = {"last": (LAST, PREVIOUS), "best": (BEST, LAST, PREVIOUS)}
    if not isinstance(which, str) or which not in order:
        path = user_path(which)
        if not path.exists():
            raise _no_checkpoint(run, path)
        with _opened(path, max_bytes=max_bytes):
            return path
    present = [path for path in (run.checkpoints / name for name in order[which]) if os.path.lexists(path)]
    if not present:
        raise _no_checkpoint(run, run.checkpoints / order[which][0])
    for position, path in enumerate(present):
        try:
            with _opened(path, max_bytes=max_bytes):
                return path
        except UserError as error:
            if position == len(present) - 1:
                raise
            tell(f"{error} Using {present[position + 1].name} instead.")
    raise AssertionError


def open_checkpoint(
    run: RunFolder, which: str | os.PathLike[str], *, tell: Callable[[str], None], max_bytes: int | None = None
) -> tuple[Path, dict[str, Any]]:
    """Find a checkpoint as `find_checkpoint` does, and read it."""
    path = find_checkpoint(run, which, tell=tell, max_bytes=max_bytes)
    return path, read_checkpoint(path, max_bytes=max_bytes)


def _no_checkpoint(run: RunFolder, path: Path) -> UserError:
    known = sorted(str(file) for file in run.checkpoints.glob("*.ckpt"))
    listed = f"choose from: {', '.join(known)}" if known else f"{run.path} has none yet; train it first"
    return UserError(f"no checkpoint {path}; {listed}.")


def has_saved_state(run: RunFolder) -> bool:
    """Return whether the run can be resumed."""
    return any(os.path.lexists(run.checkpoints / name) for name in (LAST, PREVIOUS))


def read_checkpoint(path: Path, *, max_bytes: int | None = None) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. `weights_only=True` keeps an untrusted file from running code.

    Args:
        path: the file.
        max_bytes: maximum size of its tensors; see `max_checkpoint_bytes`.

    Raises:
        UserError: the sha256 differs, the file cannot be read, or it is not a checkpoint of this program.
    """
    with _opened(path, max_bytes=max_bytes) as (file, _):
        checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return checkpoint


def saved_facts(run: RunFolder) -> tuple[dict[str, Any], float] | None:
    """Return what the newest saved state says about its run; None if there is no state. No tensor is read.

    Returns: the settings, as `settings.to_dict` made them, and the seconds of training.

    Raises:
        UserError: no state is intact, or it lacks these facts.
    """
    if not has_saved_state(run):
        return None
    path = find_checkpoint(run, "last", tell=lambda line: None)  # it is told when the run resumes
    with _opened(path, max_bytes=None) as (_, content):
        try:
            _FACTS(content, "it")
        except ValueError as error:
            raise UserError(f"checkpoint {path} cannot be resumed from: {error}; restore the file.") from error
        return content[OWN_STATE]["config"], float(content["clock"]["seconds"])


def weights_of(path: Path) -> Weights:
    """Return which weights a checkpoint holds. No tensor is read.

    Raises:
        UserError: as `read_checkpoint`.
    """
    with _opened(path, max_bytes=None) as (_, content):
        return Weights.of_checkpoint(path, content)


_FACTS = fields({OWN_STATE: fields({"config": fields({})}), "clock": fields({"seconds": number(0)})})


def max_checkpoint_bytes(network: nn.Module) -> int:
    """Return the maximum size of a checkpoint: the weights, their average, and up to six states of the optimizer."""
    num_bytes: int = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    return 8 * num_bytes + 2**28


@contextmanager
def _opened(path: Path, *, max_bytes: int | None) -> Iterator[tuple[BufferedReader, Any]]:
    """Yield an open checkpoint whose sha256 and structure are right, and its outline; else raise a `UserError`."""
    try:
        with open_regular(path) as file:
            known = known_sums(path)  # empty for a file of another program
            if known and hashlib.file_digest(file, "sha256").hexdigest() not in known:
                raise UserError(f"checkpoint {path} is damaged: its sha256 is not the one in {sums_file(path).name}.")
            content = outline(file, num_bytes=os.fstat(file.fileno()).st_size, max_bytes=max_bytes)
            if not isinstance(content, dict) or "state_dict" not in content:
                raise UserError(f"{path} is not a checkpoint of a training run: it has no 'state_dict'.")
            _CHECKPOINT(content, "it")
            file.seek(0)
            yield file, content
    except (UserError, MemoryError):
        raise
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # torch, zipfile and pickletools raise many kinds for a damaged file
        raise UserError(
            f"checkpoint {path} cannot be read: it is damaged or holds more than weights ({reason(error)})."
        ) from error


def dense(value: Any, where: str) -> None:
    """Admit tensors that are real and hold their own elements: a schema, see `files.schema`."""
    if not isinstance(value, Tensor):
        raise mismatch(where, value, "a tensor")


_AVERAGE = fields({"weights": map_of(dense), "steps": whole(1)})


def _average(value: Any, where: str) -> None:
    """Admit true and false, as in `best.ckpt`, and averaged weights, as in `last.ckpt`."""
    if not isinstance(value, bool):
        _AVERAGE(value, where)


_CHECKPOINT = fields(
    {"state_dict": map_of(dense)},
    optional={"epoch": whole(0, 10**9), "global_step": whole(), "averaged": _average},
)


def load_weights(
    network: nn.Module, checkpoint: dict[str, Any], path: Path, *, whose: str = "the run's network"
) -> None:
    """Load a checkpoint's weights into a network, in place. Prefers their moving average if the run has one.

    whose: the network, for the message.

    Raises:
        UserError: the weights are of another architecture. The message names the first difference.
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
        raise UserError(f"checkpoint {path} has another architecture than {whose}: {difference}.")
    for name, weight in weights.items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise UserError(f"checkpoint {path} holds weights that are not finite ({name}); use another one.")
    network.load_state_dict(weights)


def averaged_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor] | None:
    """Return the averaged weights in a checkpoint, name -> tensor; None if the run has none."""
    averaged = checkpoint.get("averaged")
    weights = averaged.get("weights") if isinstance(averaged, dict) else None
    return weights if isinstance(weights, dict) else None


def _plain_name(name: str) -> str:
    """Remove what torch.compile and DDP add to the names of weights."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def _first_difference(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            return f"{name} is missing in it"
        if name not in expected:
            return f"it has {name}, which the network does not have"
        found, wanted = weights[name], expected[name]
        if found.shape != wanted.shape:
            return f"{name} is {tuple(found.shape)} in it and {tuple(wanted.shape)} in the network"
        if found.dtype != wanted.dtype and not (found.is_floating_point() and wanted.is_floating_point()):
            return f"{name} is {found.dtype} in it and {wanted.dtype} in the network"
    return ""
