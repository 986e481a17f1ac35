"""The output of `train --dry-run`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from cifar100.process.memory import bytes_text
from cifar100.terminal import say, warn

if TYPE_CHECKING:
    from cifar100.training.cost.dry_run import Estimate


def show_estimate(estimate: Estimate) -> bool:
    """Print an estimate, one fact per line. Return whether the run fits on the disk; warn if not."""
    from cifar100.training.reporting.run_log import format_seconds

    parts, processes = estimate.parts, estimate.config.training.num_processes
    several = f"{processes} x " if processes > 1 else ""
    say("dry run     nothing is written")
    _say_wrapped(f"network     {estimate.parameters:,} parameters, on {several}{estimate.device}")
    _say_wrapped(
        f"steps       {estimate.steps_per_epoch:,} in an epoch, {parts.steps:,} in all ({parts.epochs:,.4g} epochs)"
    )
    for side, seconds in estimate.seconds_per_step.items():
        at = f" at {side} x {side} pixels" if len(estimate.seconds_per_step) > 1 else ""
        speed = f", {estimate.images_per_step / seconds:,.0f} images/s" if estimate.images_per_step else ""
        _say_wrapped(f"a step      {seconds:.3g} s{speed}{at}")
    of = {"start": estimate.start_seconds, "training": parts.training_seconds, "saving": estimate.saving_seconds}
    if parts.validations:
        of[f"{parts.validations} validations"] = parts.validation_seconds
    listed = ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in of.items())
    _say_wrapped(f"time        about {format_seconds(estimate.seconds)} ({listed})")
    if estimate.memory is not None:
        limit = "" if estimate.memory_limit is None else f" of {bytes_text(estimate.memory_limit)}"
        each = " in each process" if processes > 1 else ""
        workers = ", without its worker processes" if estimate.config.data.pipeline == "images" else ""
        _say_wrapped(f"memory      at least {bytes_text(estimate.memory)}{each}{limit} ({estimate.device}){workers}")
    checkpoints, more, free = estimate.checkpoint_bytes, estimate.saving_bytes, estimate.free_disk
    disk = f"{bytes_text(checkpoints)} of checkpoints, {bytes_text(more)} more while one is written"
    _say_wrapped(f"disk        {disk}; {bytes_text(free)} are free")
    if checkpoints + more > free:
        needed = bytes_text(checkpoints + more)
        warn(f"the checkpoints need {needed}, but {bytes_text(free)} are free; free some space before training.")
        return False
    return True


def _say_wrapped(fact: str) -> None:
    for line in textwrap.wrap(fact, 80, subsequent_indent=" " * 12):
        say(line)
