"""Save and stop on Ctrl-C, SIGTERM and SLURM's SIGUSR1."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

from cifar100.errors import Stopped
from cifar100.training.processes import is_rank_zero

REQUEUE_SIGNAL = getattr(signal, "SIGUSR1", None)
"""What `sbatch --signal=USR1@90` sends before the time limit. Windows has no such signal."""


def stop_signals() -> list[int]:
    """Return the signals that end a run in order."""
    requeue = [REQUEUE_SIGNAL] if REQUEUE_SIGNAL is not None and "SLURM_JOB_ID" in os.environ else []
    return [signal.SIGINT, signal.SIGTERM, *requeue]


class StopSignal:
    """Defers a signal to the end of a training step. A second signal, or one outside of training, ends the run at once.

    A context manager that sets the handlers and restores the earlier ones. Does nothing outside of the main thread.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        self._before = {number: signal.getsignal(number) for number in stop_signals()}
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Set the handlers. Call it again after Lightning has set its own, which do not wait for the end of a step."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, before in self._before.items():
            if before is not signal.SIG_IGN:  # as nohup and background jobs do
                signal.signal(number, self._handle)

    def message(self, resume: str) -> str:
        """Return how to resume the run. After SLURM's signal, rank 0 also requeues the job.

        resume: the command that resumes the run.
        """
        if self.received is None or self.received != REQUEUE_SIGNAL or not is_rank_zero():
            return f"Resume with: {resume}"
        return f"{requeue()} SLURM then resumes the run; to do so yourself: {resume}"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.deferring and self.received is None:
            self.received = number
            return
        raise Stopped("", number)


def requeue() -> str:
    """Requeue this SLURM job; return a sentence that says whether it worked."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"SLURM could not requeue job {job} ({error})."
    return f"SLURM has requeued job {job}."
