"""Progress of a run, from 0 at its first optimizer step to 1 at its last, by steps, by time or by both."""

from __future__ import annotations

import math
import time


class RunClock:
    """Counts the optimizer steps of a run and the seconds since its start, and decides when it is over.

    With both limits the run ends with the first of them, and its progress is the larger of the two fractions. It never
    falls, and it is 1 at the end, whichever limit ends the run.

    Args:
        total_steps: maximum number of optimizer steps; None: no limit.
        max_seconds: maximum duration; None: no limit.
        started: `time.monotonic()` at the start of the run; None: now.
    """

    def __init__(
        self, total_steps: int | None, *, max_seconds: float | None = None, started: float | None = None
    ) -> None:
        assert total_steps is not None or max_seconds is not None, "a run without an end"
        self.total_steps = total_steps
        self.max_seconds = max_seconds
        self.steps = 0
        self._started = time.monotonic() if started is None else started
        self._held: float | None = None

    @property
    def seconds(self) -> float:
        """Wall time so far, or the time at which the clock is held. That of an interruption does not count."""
        return self.running_seconds if self._held is None else self._held

    @property
    def running_seconds(self) -> float:
        """Wall time so far, also while the clock is held."""
        return time.monotonic() - self._started

    def hold(self, seconds: float) -> None:
        """Stand at a time until the next call, so that all processes of a run have the same."""
        self._held = seconds

    @property
    def progress(self) -> float:
        """Progress of the next optimizer step, 0 to 1."""
        return self.progress_at(self.steps)

    @property
    def is_over(self) -> bool:
        """Whether no step is left."""
        out_of_steps = self.total_steps is not None and self.steps >= self.total_steps
        return out_of_steps or (self.max_seconds is not None and self.seconds >= self.max_seconds)

    def progress_at(self, step: int) -> float:
        """Return the progress of optimizer step `step`, counted from 0; under a time limit, at least that of now."""
        by_steps = 0.0 if self.total_steps is None else step / max(1, self.total_steps - 1)
        by_time = 0.0 if self.max_seconds is None else self.seconds / self.max_seconds
        return min(1.0, max(by_steps, by_time))

    def seconds_left(self, seconds_per_step: float) -> float:
        """Return the time until the end of the run, in seconds."""
        steps_left = math.inf if self.total_steps is None else self.total_steps - self.steps
        time_left = math.inf if self.max_seconds is None else self.max_seconds - self.seconds
        return max(0.0, min(steps_left * seconds_per_step, time_left))

    def resume(self, *, steps: int, seconds: float) -> None:
        """Resume after an earlier part of the run, which took `steps` steps and `seconds` seconds."""
        self.steps = steps
        self._started, self._held = time.monotonic() - seconds, None


class StandingClock(RunClock):
    """A clock that stands still: at the maximum of the learning rate in a range test, at each resolution in a dry run.

    Args:
        progress: of every step, 0 to 1.
    """

    def __init__(self, progress: float) -> None:
        super().__init__(None, max_seconds=math.inf)
        self._progress = progress

    def progress_at(self, step: int) -> float:
        """Return the progress at which the clock stands."""
        return self._progress

    def move_to(self, progress: float) -> None:
        """Stand at another progress, 0 to 1."""
        self._progress = progress


def steps_of(epochs: float, steps_per_epoch: int) -> int:
    """Return the optimizer steps of a number of epochs, which may be fractional; at least 1."""
    return max(1, math.floor(epochs * steps_per_epoch + 0.5))
