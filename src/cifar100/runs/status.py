"""The status of a run, `status.json`, and the lock that keeps a second process out of its folder.

The operating system releases the lock when its process ends, for whatever reason. A run whose status is `running` while
no process holds its lock was killed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cifar100.errors import Diverged, UserError
from cifar100.files.atomic import remove_partial_files, write_json
from cifar100.files.locks import holding, is_held
from cifar100.files.schema import fields, nothing_or, one_of, read_as, text, whole
from cifar100.runs.folder import RunFolder
from cifar100.terminal import warn

RUNNING, FINISHED, STOPPED = "running", "finished", "stopped"
DIVERGED, FAILED, KILLED = "diverged", "failed", "killed"
UNKNOWN = "unknown"
"""Status of a folder without a readable `status.json`."""


_STATUS = fields(
    {},
    optional={
        "status": one_of(RUNNING, FINISHED, STOPPED, DIVERGED, FAILED, KILLED),
        "message": text,
        "pid": whole(),
        "host": text,
        "slurm_job": nothing_or(text),
        "started": text,
        "updated": text,
    },
)


class FolderWatch:
    """Notices that the folder of a running run was removed, renamed or replaced by that of another run.

    Compares the process in `status.json`, because inode numbers may change on network file systems. Create it once the
    status is `running`.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._owner = self._look()

    def is_same(self) -> bool:
        """Return whether the folder is still there, and its status is not of another process."""
        owner = self._look()
        return self._run.path.is_dir() and (None in (owner, self._owner) or owner == self._owner)

    def check(self) -> None:
        """Refuse to write into another folder, or to create the folder again.

        Raises:
            UserError: the folder was removed, renamed or replaced.
        """
        if not self.is_same():
            raise UserError(
                f"{self._run.path} was removed or renamed during the training, which ends here; if the folder still "
                "exists, resume the run under its new name: cifar100 train --resume NAME"
            )

    def _look(self) -> tuple[object, object] | None:
        try:
            content = read_as(self._run.status, _STATUS)
        except (OSError, ValueError):
            return None
        return content.get("pid"), content.get("host")


@contextmanager
def occupied(run: RunFolder) -> Iterator[None]:
    """Hold the run's lock and record how the block ends.

    Raises:
        UserError: another process uses the folder; the message names its process id.
    """
    with holding(run.lock, what=str(run.path)):
        for folder in (run.path, run.checkpoints):
            remove_partial_files(folder)
        write_status(run, RUNNING)
        folder_watch = FolderWatch(run)
        try:
            yield
        except BaseException as error:
            if folder_watch.is_same():
                _record_end(run, error)
            raise
        try:
            folder_watch.check()
            write_status(run, FINISHED)
        except UserError as error:  # everything else of the run is complete
            warn(str(error))


def write_status(run: RunFolder, status: str, *, message: str = "") -> None:
    """Write `status.json`; a resumed run keeps `started`.

    Raises:
        UserError: the file cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    content = {
        "status": status,
        "message": message,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "started": read_status(run).get("started", now),
        "updated": now,
    }
    write_json(content, run.status)


def read_status(run: RunFolder) -> dict[str, Any]:
    """Return the content of `status.json`, with `killed` for a run that was; empty if the file is damaged."""
    try:
        content: dict[str, Any] = read_as(run.status, _STATUS)
    except (OSError, ValueError):
        return {}
    if content.get("status") == RUNNING and content.get("host") == socket.gethostname() and not is_held(run.lock):
        content["status"] = KILLED
    return content


def runs_here(run: RunFolder) -> bool:
    """Return whether a process of this machine holds the run's lock."""
    return is_held(run.lock)


def _record_end(run: RunFolder, error: BaseException) -> None:
    endings = {KeyboardInterrupt: STOPPED, Diverged: DIVERGED}
    status = next((status for kind, status in endings.items() if isinstance(error, kind)), FAILED)
    try:
        write_status(run, status, message=" ".join(str(error).split())[:500])
    except UserError:  # the disk is full, which `error` may report already
        return
