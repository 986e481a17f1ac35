"""End a run that is out of memory with one line: a batch size that would have fitted, and how to resume."""

from __future__ import annotations

import re
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cifar100.devices import choose_accelerator
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.runs.checkpoints import has_saved_state
from cifar100.runs.folder import RunFolder, how_to_resume
from cifar100.training.cost.step_memory import measure_step_memory, usable_memory
from cifar100.training.cost.trial import Subject

SIGNS = (
    "can't allocate memory",  # torch on Linux
    "not enough memory",  # torch on Windows, and CUDA
    "out of memory",  # CUDA and MPS
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to mmap",
)
"""Parts of messages that mean "no memory left": torch and its libraries raise several kinds of exceptions for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory has run out, that of a GPU or that of the machine."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


@contextmanager
def memory_errors_as_user_errors(subject: Subject, run: RunFolder) -> Iterator[None]:
    """Turn the errors that mean "no memory left" into a `UserError`: the bounds of `check_memory` are low.

    Args:
        subject: what is trained.
        run: its folder.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        device = torch.device(choose_accelerator(subject.config.training.accelerator))
        reason = _reason(error)
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the step
        advice = _advice(subject, run, _fitting_batch(subject, device))
        raise UserError(f"out of memory ({device.type}: {reason}); {advice}") from None


def _reason(error: BaseException) -> str:
    """Return what torch said, in one short line without its source code."""
    said = re.sub(r"\[enforce fail at .*?\] err == 0\. |\. Error code.*", "", " ".join(str(error).split()))
    return textwrap.shorten(said, 120, placeholder=" ...").rstrip(".") or type(error).__name__


def _advice(subject: Subject, run: RunFolder, images: int | None) -> str:
    """Return what to do: resume with a smaller batch, which is possible until a state is saved."""
    resume = how_to_resume(run)
    if subject.split is None:
        return f"use smaller batches in the data module, then resume: {resume}"
    if images is None:
        fix = "choose a smaller network, or close other programs and resume"
        return f"no batch of 2 images or more fits; {fix}: {resume}"
    option = f"--data.batch_size {images}"
    if not run.config.is_file():  # a range test by itself
        return f"{images:,} images in a batch would have fitted: {option}"
    if not has_saved_state(run):
        smaller = how_to_resume(run, {"data.batch_size": images})
        return f"{images:,} images in a batch would have fitted; resume with them: {smaller}"
    again = f"cifar100 train --config {as_argument(run.config)} {option}"
    if subject.parts.names():
        again = f"the same call with data.batch_size {images}"
    return (
        f"{images:,} images in a batch would have fitted, but a trained run keeps its steps: close other programs and "
        f"resume ({resume}), or start another run ({again})"
    )


def _fitting_batch(subject: Subject, device: torch.device) -> int | None:
    """Return the largest power of two below the run's batch size that fits into the memory; None if none does."""
    if subject.split is None:
        return None
    smaller = (subject.config.data.images_per_step - 1).bit_length() - 1
    most = 1 << max(smaller, 0)
    try:
        available = usable_memory(device, processes=subject.config.training.processes_here)
        memory = measure_step_memory(subject, device, largest=most)
    except (RuntimeError, MemoryError, UserError) as error:
        if not isinstance(error, UserError) and not is_out_of_memory(error):
            raise
        return None
    fitting = most if available is None else min(most, memory.largest_batch(available))
    return None if fitting < 2 else 1 << (fitting.bit_length() - 1)
