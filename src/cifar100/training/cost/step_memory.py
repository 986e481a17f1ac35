"""The memory of a training step as a function of its batch size, from steps of small batches."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import torch

from cifar100.errors import UserError
from cifar100.process.memory import (
    available_memory,
    peak_memory,
    reset_peak,
    resident_memory,
    return_freed_memory,
)
from cifar100.training.cost.trial import Subject, Trial

USABLE = {"cpu": 0.7, "cuda": 0.9}
"""Fraction of the free memory that a step may take. A CPU needs some for workers and the rest of the system; on both,
freed blocks leave gaps. A run took 0.75 to 1.05 times what the line says: six networks, `benchmarks/step_memory.py`,
torch 2.15 on an AMD EPYC, 2026-11-27."""

SMALLEST_TRIAL = 16
"""Images of the first trial; smaller ones tell little about the memory of an image."""

ENOUGH_BYTES = 128 * 2**20
"""Trials end when the peak has grown by this much: the noise of the allocator is below a tenth of it."""

ENOUGH_SECONDS = 10.0
"""If a step takes this long, a quarter of that growth is enough."""

STEPS = 2
"""The second step of a trial has the optimizer's state as well."""


@dataclass(frozen=True)
class StepMemory:
    """Memory that a step takes beyond what the process has already, in bytes. A larger step may take more or less
    than the line through smaller ones says: libraries choose other algorithms, and freed blocks leave gaps. `USABLE`
    has the margin.
    """

    fixed: float
    """Weights, gradients, state of the optimizer, and the images of the whole data set in the `packed` pipeline."""

    per_image: float
    """Activations of an image."""

    def needed(self, images: int) -> float:
        """Return the memory of a step of that many images."""
        return self.fixed + images * self.per_image

    def largest_batch(self, available: float) -> int:
        """Return the most images whose step fits; 0 if none does."""
        return max(0, int((available - self.fixed) / max(self.per_image, 1.0)))


def usable_memory(device: torch.device, *, processes: int) -> float | None:
    """Return the bytes that a training step of this process may take beyond what the process has; None: unknown.

    processes: those that share the memory of a machine; each GPU has its own.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return USABLE["cuda"] * (free + cached)
    available = available_memory() if device.type == "cpu" else None
    return None if available is None else USABLE["cpu"] * available / processes


def measure_step_memory(subject: Subject, device: torch.device, *, largest: int) -> StepMemory:
    """Take steps of small batches, and return the line through the peaks of the smallest and the largest.

    Args:
        subject: its batch size is replaced.
        device: `cpu` on Linux, or `cuda`.
        largest: maximum batch size of a trial.

    Raises:
        UserError: the memory of a step cannot be measured on this device.
    """
    optimization = subject.config.optimization
    first = SMALLEST_TRIAL if optimization.sam == "none" else max(SMALLEST_TRIAL, optimization.sam_batch_size)
    images = min(first, max(1, largest // 2))
    before = _present(device)
    peaks: dict[int, float] = {}
    while True:
        started = time.monotonic()
        _reset_peak(device)
        _take_steps(subject.with_batch_size(images), device)
        peaks[images] = _peak(device) - before
        seconds = (time.monotonic() - started) / STEPS
        smallest = min(peaks)
        grown = peaks[images] - peaks[smallest]
        is_enough = grown >= (ENOUGH_BYTES if seconds < ENOUGH_SECONDS else ENOUGH_BYTES / 4)
        if len(peaks) > 1 and (is_enough or 2 * images > largest):
            break
        images *= 2
    per_image = max(0.0, grown) / (images - smallest)
    return StepMemory(fixed=max(0.0, peaks[images] - images * per_image), per_image=per_image)


def _take_steps(subject: Subject, device: torch.device) -> None:
    trial = Trial(subject, device=device)
    for _ in range(STEPS):
        trial.step()


def _present(device: torch.device) -> float:
    """Return the memory of this process now, without what it has freed."""
    _forget(device)
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    present = resident_memory() if device.type == "cpu" else None
    if present is None:
        raise UserError(
            f"the memory of a training step can be measured only on CUDA and on Linux, not here ({device.type}); set "
            "--data.batch_size to a number."
        )
    return present


def _reset_peak(device: torch.device) -> None:
    _forget(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_peak()


def _forget(device: torch.device) -> None:
    """Give back what was freed: else a step takes it unseen, and its memory seems smaller."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        return_freed_memory()


def _peak(device: torch.device) -> float:
    """Return the most memory of this process since the reset."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    assert peak is not None, "it was measured before"
    return peak
