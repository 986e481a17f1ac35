"""The command that measures a run, for messages and pages: on images that its data have, with the weights they mean."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Literal

from cifar100.data.dataset_info import DatasetInfo, read_info
from cifar100.errors import UserError
from cifar100.runs.folder import BEST, LAST, RunFolder, read_parts

Split = Literal["test", "validation"]


def evaluate_command(
    run: RunFolder, *, split: Split, is_custom: bool = False, checkpoint: Path | None = None, **options: str | bool
) -> str:
    """Return the command that measures a run, or the call from Python for one with a custom network.

    Args:
        run: its folder.
        split: the images; see `usual_split`.
        is_custom: whether its network is a custom one.
        checkpoint: the weights; None: those that commands choose by themselves.
        options: others of `evaluate`, such as `calibrate=True`. One that is false or empty is left out.
    """
    chosen = "" if checkpoint is None else checkpoint_choice(run, checkpoint)
    every: dict[str, str | bool] = {"split": "" if split == "test" else split, "checkpoint": chosen, **options}
    given = {name: value for name, value in every.items() if value}
    if is_custom:
        arguments = [f"{name}=True" if value is True else f'{name}="{value}"' for name, value in given.items()]
        return f"evaluate({', '.join([repr(run.path.as_posix()), 'network=...', *arguments])})"
    flags = [f"--{name}" if value is True else f"--{name} {quote(str(value))}" for name, value in given.items()]
    return " ".join([f"cifar100 evaluate {run.argument}", *flags])


def how_to_evaluate(
    run: RunFolder, *, split: Split | None = None, checkpoint: Path | None = None, **options: str | bool
) -> str:
    """Return the command for a message; see `evaluate_command`.

    split: None for the usual one.
    """
    is_custom = False
    with suppress(UserError):  # a damaged file is not what the message is about
        is_custom = "network" in read_parts(run)
        split = split or usual_split(read_info(run.dataset_info))
    command = evaluate_command(run, split=split or "test", is_custom=is_custom, checkpoint=checkpoint, **options)
    return f"{command} in Python" if is_custom else command


def usual_split(info: DatasetInfo) -> Split:
    """Return the images on which a run is measured: those for testing, if its data have any."""
    return "test" if info.num_test else "validation"


def checkpoint_choice(run: RunFolder, checkpoint: Path) -> str:
    """Return what chooses a checkpoint of a run: `last` or a path; empty if commands choose it by themselves."""
    is_of_run = checkpoint.absolute().parent == run.checkpoints.absolute()
    if is_of_run and checkpoint.name == BEST:
        return ""
    if is_of_run and checkpoint.name == LAST:
        return "last" if (run.checkpoints / BEST).exists() else ""
    return checkpoint.as_posix()
