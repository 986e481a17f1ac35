"""Find out from the environment which launcher has started this process: torchrun, srun or none.

`--training.devices` alone starts the processes with torch's own launcher, which counts as torchrun. Variables that a
shell has inherited from a job are no launcher. torch and Lightning read them unchecked, some while they are imported.
"""

from __future__ import annotations

import os
from typing import Literal

from cifar100.errors import UserError

Launcher = Literal["torchrun", "srun"]

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Lightning takes its rank from the first of these that is set, even without a launcher."""

_MAX_PORT = 65535


def launcher() -> Launcher | None:
    """Return what has started this process; None if nothing has, such as the shell of a batch job without srun."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    is_interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    is_task = "SLURM_STEP_ID" in os.environ or os.environ.get("SLURM_PROCID", "0") != "0"
    return "srun" if "SLURM_NTASKS" in os.environ and is_task and not is_interactive else None


def is_rank_zero() -> bool:
    """Return whether this process is the first of its run."""
    rank = {"torchrun": "RANK", "srun": "SLURM_PROCID", None: ""}[launcher()]
    return os.environ.get(rank, "0") == "0"


def check_launcher() -> None:
    """Check what the launcher has set, before torch and Lightning read it.

    Raises:
        UserError: a variable is missing, no number, or contradicts another.
    """
    started_by = launcher()
    if started_by == "torchrun":
        _check_numbers("torchrun", needed=("RANK", "LOCAL_RANK", "WORLD_SIZE"), optional=("GROUP_RANK", "MASTER_PORT"))
        _check_below("RANK", "WORLD_SIZE")
        _check_below("LOCAL_RANK", "LOCAL_WORLD_SIZE")
    elif started_by == "srun":
        needed = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
        optional = ("SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_JOB_ID", "MASTER_PORT", "RANK", "LOCAL_RANK")
        _check_numbers("srun", needed=needed, optional=optional)
        _check_below("SLURM_PROCID", "SLURM_NTASKS")
    else:
        for name in _RANKS:
            if os.environ.get(name, "0") != "0":
                raise _wrong(name, "neither torchrun nor srun has started this process; start it with one of them")
    if started_by is not None and _number("MASTER_PORT", 1) > _MAX_PORT:
        raise _wrong("MASTER_PORT", f"a port is at most {_MAX_PORT}; set another")


def _check_numbers(started_by: Launcher, *, needed: tuple[str, ...], optional: tuple[str, ...]) -> None:
    for name in needed:
        if name not in os.environ:
            sign = "TORCHELASTIC_RUN_ID" if started_by == "torchrun" else "SLURM_NTASKS"
            raise _wrong(sign, f"{name} is not set, as {started_by} does; start the command with {started_by}")
    for name in (*needed, *optional):
        if name in os.environ and not _is_whole(os.environ[name]):
            raise _wrong(name, f"it must be a whole number, as {started_by} sets; start the command with {started_by}")


def _check_below(name: str, limit: str) -> None:
    if limit in os.environ and not _is_whole(os.environ[limit]):
        raise _wrong(limit, "it must be a whole number; start the command with torchrun")
    if limit in os.environ and _number(name, 0) >= _number(limit, 1):
        raise _wrong(name, f"{limit} is {_number(limit, 1)}, and it must be less; start the command with its launcher")


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12


def _wrong(name: str, reason: str) -> UserError:
    error = UserError(f"the environment variable {name} is {os.environ[name]!r:.80}, but {reason}, or: unset {name}")
    error.only_here = True
    return error
