"""Ctrl-C, SIGTERM and SLURM's SIGUSR1: end a run in order."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

from cifar100.errors import Stopped

REQUEUE_SIGNAL = getattr(signal, "SIGUSR1", None)
"""What `sbatch --signal=USR1@90` sends before the time is up. Windows has none."""


class StopSignal:
    """Notes a signal until the training step is finished; outside of training, and the second time, it ends the run.

    A context manager, within which the handlers are set; none in other threads than the main one.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferring = False
        self._signals = [signal.SIGINT, signal.SIGTERM]
        if REQUEUE_SIGNAL is not None and "SLURM_JOB_ID" in os.environ:
            self._signals.append(REQUEUE_SIGNAL)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        self._before = {number: signal.getsignal(number) for number in self._signals}
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Set the handlers; again after Lightning has set its own, which do not wait for the end of a step."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, before in self._before.items():
            if before is not signal.SIG_IGN:  # a process that another one ends
                signal.signal(number, self._handle)

    def message(self, go_on: str) -> str:
        """Return what to tell about the signal; at SLURM's, the job is put back into the queue."""
        if self.received is None or self.received != REQUEUE_SIGNAL:
            return f"Go on with: {go_on}"
        return f"{requeue()} It goes on by itself then, or with: {go_on}"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.deferring and self.received is None:
            self.received = number
            return
        raise Stopped("", number)


def requeue() -> str:
    """Put this SLURM job back into the queue, and return what came of it."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"SLURM could not put job {job} back into its queue ({error})."
    return f"SLURM has put job {job} back into its queue."
