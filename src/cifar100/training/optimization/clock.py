"""Progress of a run, from 0 at its first optimizer step to 1 at its last, by steps or by time."""

from __future__ import annotations

import math
import time


class RunClock:
    """Counts the optimizer steps of a run or the seconds since its start, and decides when it is over.

    Args:
        total_steps: optimizer steps of the whole run.
        max_seconds: duration of the run in place of `total_steps`.
        started: `time.monotonic()` at the start of the run; None: now.
    """

    def __init__(self, total_steps: int, *, max_seconds: float | None = None, started: float | None = None) -> None:
        self.total_steps = total_steps
        self.max_seconds = max_seconds
        self.steps = 0
        self._started = time.monotonic() if started is None else started

    @property
    def seconds(self) -> float:
        """Wall time so far. Time between an interruption and the resumption does not count."""
        return time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """Progress of the next optimizer step, 0 to 1."""
        return self.progress_at(self.steps)

    @property
    def is_over(self) -> bool:
        """Whether no step is left."""
        return self.steps >= self.total_steps if self.max_seconds is None else self.seconds >= self.max_seconds

    def progress_at(self, step: int) -> float:
        """Return the progress of optimizer step `step`, counted from 0; under a time limit, that of this moment."""
        if self.max_seconds is None:
            return min(1.0, step / max(1, self.total_steps - 1))
        return min(1.0, self.seconds / self.max_seconds)

    def seconds_left(self, seconds_per_step: float) -> float:
        """Return the time until the end of the run, in seconds."""
        if self.max_seconds is None:
            return max(0, self.total_steps - self.steps) * seconds_per_step
        return max(0.0, self.max_seconds - self.seconds)

    def resume(self, *, steps: int, seconds: float) -> None:
        """Resume after an earlier part of the run, which took `steps` steps and `seconds` seconds."""
        self.steps = steps
        self._started = time.monotonic() - seconds


def steps_of(epochs: float, steps_per_epoch: int) -> int:
    """Return the optimizer steps of a number of epochs, which may be fractional; at least 1."""
    return max(1, math.floor(epochs * steps_per_epoch + 0.5))
