"""SLURM: requeue a job at its time limit or when it is preempted, and find the run of a command of a requeued job.

A job script may hold several trainings. Each run records which request of which job has started it, so that the same
command of the restarted job resumes its own run.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from cifar100.config import Config
from cifar100.errors import Stopped
from cifar100.files.atomic import write_json
from cifar100.files.regular import read_json
from cifar100.process.launchers import is_rank_zero
from cifar100.process.stopping import REQUEUE_SIGNAL
from cifar100.runs.folder import RunFolder, how_to_resume, run_folders
from cifar100.runs.status import FINISHED, read_status, runs_here
from cifar100.settings import to_dict
from cifar100.terminal import say

MAX_BYTES = 10_000


@dataclass(frozen=True)
class Request:
    """A command of a SLURM job."""

    job: str
    """`<job>`, or `<job>_<task>` in an array of jobs; the same after a requeue."""

    fingerprint: str
    """sha256 of the command, its settings as asked for, the experiment's name and the custom parts."""

    def has_started(self, run: RunFolder) -> bool:
        """Return whether this request, in an earlier attempt of the job, has started a run."""
        try:
            content = read_json(run.request, limit=MAX_BYTES)
        except (OSError, ValueError):
            return False
        return bool(content == asdict(self))


def slurm_request(command: str, config: Config, *, experiment: str | None, parts: Mapping[str, str]) -> Request | None:
    """Return what a command asks for, if it belongs to a SLURM job."""
    job = _job()
    if job is None:
        return None
    asked: dict[str, Any] = {"command": command, "config": to_dict(config), "experiment": experiment, "parts": parts}
    content = json.dumps(asked, sort_keys=True, default=str)
    return Request(job, hashlib.sha256(content.encode()).hexdigest())


def remember_request(request: Request | None, run: RunFolder) -> None:
    """Record the request in the folder of the run that it starts."""
    if request is not None:
        write_json(asdict(request), run.request)


def requeued_run(request: Request | None) -> RunFolder | None:
    """Return the run that this request has started before SLURM requeued the job, if there is one.

    The newest that is not finished, else the newest that is. A run that another process is training is left to it.
    """
    if request is None or os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        return None
    started = [run for run in run_folders() if request.has_started(run) and not runs_here(run)]
    statuses = {run: read_status(run) for run in started}
    return max(
        started,
        key=lambda run: (statuses[run].get("status") != FINISHED, str(statuses[run].get("updated"))),
        default=None,
    )


def is_of_requeued_job(run: RunFolder) -> bool:
    """Return whether this is a SLURM job that was requeued, and the run was last trained by it."""
    requeued = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
    return requeued and read_status(run).get("slurm_job") == os.environ.get("SLURM_JOB_ID", "")


def skip_finished(run: RunFolder) -> bool:
    """Return whether a run of this job is finished, and say that it is skipped."""
    is_finished = read_status(run).get("status") == FINISHED
    if is_finished and is_rank_zero():
        say(f"{run.path} finished before SLURM requeued the job; skipping it.")
    return is_finished


@contextmanager
def stops_explained(run: RunFolder | None = None) -> Iterator[None]:
    """Add to a `Stopped` how to resume the run, if there is one. If SLURM takes the node, rank 0 requeues the job."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        if run is None and str(stopped):  # explained already
            raise
        number = stopped.signum if isinstance(stopped, Stopped) else None
        resume = how_to_resume(run) if run is not None and run.config.is_file() else ""
        raise Stopped(f"{stopped} {_advice(number, resume)}".strip(), number) from None


def _advice(number: int | None, resume: str) -> str:
    if not is_rank_zero() or not _is_slurms_stop(number):
        return f"Resume with: {resume}" if resume else ""
    yourself = f" SLURM will resume the run; to resume it yourself: {resume}" if resume else ""
    return f"{requeue()}{yourself}"


def _is_slurms_stop(number: int | None) -> bool:
    """Return whether a signal means that SLURM needs the node: the time limit, or a preemption."""
    return number is not None and (number == REQUEUE_SIGNAL or (number == signal.SIGTERM and is_preempted()))


def is_preempted() -> bool:
    """Return whether SLURM preempts this job, and has not cancelled it: both send SIGTERM.

    A job that ends within the grace time of its partition counts as ended; SLURM does not requeue it by itself.
    """
    job = _job()
    if job is None:
        return False
    try:
        shown = subprocess.run(["scontrol", "show", "job", job], check=True, capture_output=True, timeout=60, text=True)
    except (OSError, subprocess.SubprocessError):
        return False
    facts = dict(item.partition("=")[::2] for item in shown.stdout.split())
    return facts.get("JobState") == "RUNNING" and facts.get("PreemptTime", "None") not in ("None", "Unknown")


def requeue() -> str:
    """Requeue this SLURM job; return a sentence that says whether it worked."""
    job = _job() or ""
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"SLURM could not requeue job {job} ({error})."
    return f"SLURM requeued job {job}."


def _job() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
