"""Write the lines of a run to the screen, and with a time stamp to `training.log`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from cifar100.files.atomic import replacing
from cifar100.files.regular import open_to_append, read_bytes
from cifar100.foreign_text import printable
from cifar100.process.started import as_started
from cifar100.terminal import console, warn

MAX_LOG_BYTES = 64 * 2**20
"""Maximum size of a log from which lines are removed; 300,000 epochs."""


class RunLog:
    """The screen and the file `training.log`. Silent on all ranks but 0.

    A file that cannot be written ends no run: a line says so once, and the screen goes on.

    Args:
        path: the file; lines are appended.
        enabled: whether this process writes.
    """

    def __init__(self, path: Path, *, enabled: bool) -> None:
        self.console = console(quiet=not enabled)
        self._path = path
        self._file: BinaryIO | None = None
        if enabled:
            with self._failures_reported():
                self._file = open_to_append(path)

    def show(self, line: str = "") -> None:
        """Print a line above the progress bar."""
        self.console.print(as_started(printable(line)))

    def write(self, lines: str) -> None:
        """Append lines to the file, each with a time stamp."""
        now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        for line in lines.splitlines():
            if self._file is not None:
                with self._failures_reported():
                    self._file.write(f"{now}  {printable(line)}\n".encode())

    def tell(self, line: str) -> None:
        """Print a line and append it to the file, as one line."""
        self.show(line)
        self.write(printable(line))

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            with self._failures_reported():
                file.close()

    @contextmanager
    def _failures_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            file, self._file = self._file, None
            if file is not None:
                with suppress(OSError):
                    file.close()
            warn(f"{self._path} cannot be written ({error.strerror or error}); the run continues without it.")


def remove_epochs_after(log: Path, last_epoch: int) -> None:
    """Remove the lines of later epochs from a `training.log`, because a resumed run repeats those epochs.

    A line that a crash cut off is removed as well. A log that cannot be read stays as it is.
    """
    try:
        lines = read_bytes(log, limit=MAX_LOG_BYTES).decode(errors="replace").splitlines(keepends=True)
    except OSError as error:
        warn(f"{log} cannot be read ({error.strerror or error}); the lines of repeated epochs stay in it.")
        return
    kept = [line for line in lines if line.endswith("\n") and _epoch_of(line) <= last_epoch]
    if kept != lines:
        with replacing(log, durable=True) as file:
            file.writelines(line.encode() for line in kept)


def _epoch_of(line: str) -> int:
    found = re.match(r"\S+ \S+  epoch (\d+)[/,]", line)
    return int(found.group(1)) if found else 0


def format_seconds(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
