"""Several workers on one machine, each a process with its own devices: GPUs if there are any, else processors."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from typing import Any

from cifar100.errors import Stopped, UserError
from cifar100.process.parent import StopRequest, when_the_parent_ends
from cifar100.process.processors import usable_processors
from cifar100.process.stopping import StopSignal, kept_from_children
from cifar100.search.sweep.worker import Assignment, work
from cifar100.terminal import unfailing_streams, warn
from cifar100.training.preflight.main_guard import require_main_guard


@dataclass(frozen=True, kw_only=True)
class Place:
    """The devices of a worker."""

    gpus: str | None = None
    """Value of CUDA_VISIBLE_DEVICES; None: as it is."""

    processors: tuple[int, ...] = ()
    """Numbers of the processors; empty: all, or a system that cannot choose."""

    num_threads: int = 1
    """Of operations on a CPU, on a system that cannot choose processors."""


def divide(count: int, *, accelerator: str) -> list[Place]:
    """Return the places of `count` workers. Several share a device if there are fewer devices.

    accelerator: the setting `training.accelerator`.
    """
    from cifar100.devices import ACCELERATORS

    num_gpus = ACCELERATORS["cuda"].count() if accelerator in ("auto", "cuda") else 0
    if num_gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",")[:num_gpus] if visible else [str(index) for index in range(num_gpus)]
        return [Place(gpus=",".join(part)) for part in _parts(names, count)]
    can_choose = hasattr(os, "sched_getaffinity")
    processors = sorted(os.sched_getaffinity(0)) if can_choose else list(range(usable_processors()))
    return [
        Place(processors=tuple(part) if can_choose else (), num_threads=len(part)) for part in _parts(processors, count)
    ]


def _parts(devices: list[Any], count: int) -> list[list[Any]]:
    """Divide devices into `count` parts of at least one."""
    total = len(devices)
    if total < count:
        return [[devices[index % total]] for index in range(count)]
    return [devices[index * total // count : (index + 1) * total // count] for index in range(count)]


def work_together(assignment: Assignment, places: list[Place]) -> None:
    """Run a worker in each place until all of them have ended.

    Raises:
        UserError: a worker failed, or all were killed.
        Stopped: a signal ended them; running trials are saved and wait to be taken up again.
    """
    require_main_guard()
    context = get_context("spawn")
    errors: Any = context.SimpleQueue()
    request = StopRequest(context)
    workers = [
        context.Process(target=_work, args=(assignment, place, errors, request), name=f"worker {number}")
        for number, place in enumerate(places, 1)
    ]
    with kept_from_children():
        for worker in workers:
            worker.start()
    try:
        _wait_for_all(workers)
    except BaseException:
        for worker in workers:
            request.send(worker)
        for worker in workers:
            worker.join()
        raise
    if not errors.empty():
        raise errors.get()
    if all(worker.exitcode for worker in workers):
        raise UserError("all workers ended early; run the same command again to continue.")


def _wait_for_all(workers: Sequence[BaseProcess]) -> None:
    running = {worker.sentinel: worker for worker in workers}
    while running:
        connection.wait(list(running))
        for worker in [worker for worker in running.values() if not worker.is_alive()]:
            del running[worker.sentinel]
            if worker.exitcode is not None and worker.exitcode < 0:
                rest = "another worker repeats its trial" if running else "run the same command again to continue"
                warn(f"{worker.name} was killed ({signal.Signals(-worker.exitcode).name}); {rest}.")


def _work(assignment: Assignment, place: Place, errors: Any, request: StopRequest) -> None:
    """Work in a new process. What ends it early goes to the one that started it."""
    when_the_parent_ends(lambda: signal.raise_signal(signal.SIGTERM))
    request.heed()
    if place.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.gpus
    elif place.processors:
        os.sched_setaffinity(0, place.processors)
    else:
        os.environ.setdefault("OMP_NUM_THREADS", str(place.num_threads))
    with unfailing_streams():
        try:
            with StopSignal():
                work(assignment)
        except UserError as error:
            errors.put(error)
            sys.exit(error.exit_status)
        except Stopped as stop:
            sys.exit(stop.exit_status)
