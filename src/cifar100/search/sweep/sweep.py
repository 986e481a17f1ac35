"""Begin, join, continue or read a sweep. Read this first."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from cifar100.errors import Stopped, UserError
from cifar100.files.atomic import writing_below
from cifar100.process.launchers import launcher
from cifar100.runs.folder import check_name
from cifar100.search.sweep.page import write_page
from cifar100.search.sweep.results import SweepResult, read_result, write_best
from cifar100.search.sweep.space import Space, read_space
from cifar100.search.sweep.storage import DATABASE, Address, check_packages, check_url, opened
from cifar100.search.sweep.study import SWEEPS, begin_or_join, load
from cifar100.search.sweep.worker import HEARTBEAT_SECONDS, Assignment, work
from cifar100.search.sweep.workers import divide, work_together
from cifar100.terminal import say


def run_sweep(
    file: Path,
    *,
    name: str | None = None,
    storage: str | None = None,
    workers: int = 1,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> SweepResult:
    """Search until the sweep has its number of trials, or its time is over. The same call continues or joins it.

    Args:
        file: see `space`.
        name: of the sweep; None: the name of the file.
        storage: address of a PostgreSQL server, for several machines; None: SQLite in the sweep's folder.
        workers: number of trials at a time on this machine.
        heartbeat_seconds: time between two heartbeats of a worker.

    Raises:
        UserError: the file, the storage or the name cannot be used, or the first trials all fail.
    """
    check_packages(server=storage is not None)
    if launcher() is not None:
        raise UserError(
            "a sweep starts its own training processes; run it without torchrun or srun, once on each machine."
        )
    space = read_space(file)
    address = _address(file.stem if name is None else name, storage)
    if storage is None:
        _create(address.folder)
    with opened(address) as trials:
        begin_or_join(trials, address, address.folder.name, space)
    _create(address.folder)
    assignment = Assignment(
        name=address.folder.name,
        address=address,
        space=space,
        minutes=space.minutes,
        is_alone=workers == 1 and storage is None,
        heartbeat_seconds=heartbeat_seconds,
    )
    say(f"{address.folder}: {_length(space)}; its table at any moment: {_command(address)}")
    try:
        if workers == 1:
            work(assignment)
        else:
            work_together(assignment, divide(workers, accelerator=space.config({}).training.accelerator))
    except KeyboardInterrupt as stop:
        raise Stopped("Run the same command again to continue the sweep.", getattr(stop, "signum", None)) from None
    return _written(address)


def read_sweep(name: str, *, storage: str | None = None) -> SweepResult:
    """Return the trials of a sweep at this moment, and write its page and `best.yaml`.

    Args:
        name: of the sweep.
        storage: address of its PostgreSQL server; None: SQLite in the sweep's folder.

    Raises:
        UserError: there is no such sweep.
    """
    check_packages(server=storage is not None)
    address = _address(name, storage)
    if storage is None and not (address.folder / DATABASE).is_file():
        known = sorted(path.parent.name for path in SWEEPS.glob(f"*/{DATABASE}"))
        there = f"there are: {', '.join(known[:20])}" if known else "there are none below this folder"
        raise UserError(
            f"found no sweep {name!r} ({there}); start one: cifar100 sweep SPACE.yaml, or add --storage URL "
            "if it is on a server."
        )
    return _written(address)


def _written(address: Address) -> SweepResult:
    """Return what a sweep has found so far; write its page and `best.yaml`."""
    with opened(address) as trials:
        study = load(trials, address, address.folder.name)
        _create(address.folder)
        write_best(study, address.folder)
        result = read_result(study, address.folder)
    write_page(result)
    return result


def _length(space: Space) -> str:
    """Return what ends a sweep, such as "12 trials, none begins after 30 minutes"."""
    trials = [] if space.trials is None else [f"{space.trials:,} trial{'s' * (space.trials > 1)}"]
    minutes = [] if space.minutes is None else [f"none begins after {space.minutes:g} minutes"]
    return ", ".join([*(trials or ["trials"]), *minutes])


def _command(address: Address) -> str:
    """Return the command that shows a sweep; without the address of a server, which may hold a password."""
    server = "" if address.url is None else " --storage URL"
    return f"cifar100 sweep {quote(address.folder.name)}{server}"


def _create(folder: Path) -> None:
    with writing_below(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _address(name: str, storage: str | None) -> Address:
    check_name(name, option="--name")
    return Address(folder=SWEEPS / name, url=None if storage is None else check_url(storage))
