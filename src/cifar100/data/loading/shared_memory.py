"""How many worker processes the shared memory has room for. They hand over their batches through it."""

from __future__ import annotations

import os
from pathlib import Path

from cifar100.terminal import warn

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps shared memory. A process that writes beyond its end is killed by SIGBUS."""

BATCHES_PER_WORKER = 2
"""Batches that torch's DataLoader has each worker prepare in advance."""


def affordable_workers(num_workers: int, *, batch_bytes: int) -> int:
    """Return how many of the workers can hand over their batches; a line says so if that is not all of them."""
    free = free_bytes()
    if num_workers == 0 or free is None:
        return num_workers
    at_once = free // batch_bytes - 2  # one in use and one on the way
    affordable = max(0, min(num_workers, at_once // BATCHES_PER_WORKER))
    if affordable < num_workers:
        needed = (num_workers * BATCHES_PER_WORKER + 2) * batch_bytes
        instead = f"{affordable} of them" if affordable else "the training process itself"
        warn(
            f"{SHARED_MEMORY} has {free / 1e6:.1f} MB free, but the batches of {num_workers} workers take "
            f"{needed / 1e6:.1f} MB; {instead} will read the images. Enlarge it (docker run --shm-size), or lower "
            "--data.num_workers."
        )
    return affordable


def free_bytes() -> int | None:
    """Return the free shared memory; 0 if there is none to write to, None if the system has another kind."""
    if not SHARED_MEMORY.is_dir():
        return None
    if not os.access(SHARED_MEMORY, os.W_OK):
        return 0
    status = os.statvfs(SHARED_MEMORY)
    return status.f_bavail * status.f_frsize
