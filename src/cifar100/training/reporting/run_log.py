"""Write the lines of a run to the screen, and with a time stamp to `training.log`."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from cifar100.atomic_files import replacing


class RunLog:
    """The screen and the file `training.log`. Silent on all ranks but 0.

    Args:
        path: the file; lines are appended.
        enabled: whether this process writes.
    """

    def __init__(self, path: Path, *, enabled: bool) -> None:
        self.console = Console(highlight=False, soft_wrap=True, quiet=not enabled)
        self._logger = logging.Logger("cifar100.run", logging.INFO)
        if enabled:
            handler = _FileHandler(path, encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
            self._logger.addHandler(handler)
        else:
            self._logger.addHandler(logging.NullHandler())

    def show(self, line: str = "") -> None:
        """Print a line."""
        self.console.print(line, markup=False)

    def write(self, lines: str) -> None:
        """Append lines to the file, each with a time stamp."""
        for line in lines.splitlines():
            self._logger.info(line)

    def tell(self, line: str) -> None:
        """Print a line and append it to the file."""
        self.show(line)
        self.write(line)

    def close(self) -> None:
        """Close the file."""
        for handler in list(self._logger.handlers):
            handler.close()
            self._logger.removeHandler(handler)


def remove_epochs_after(log: Path, last_epoch: int) -> None:
    """Remove the lines of later epochs from a `training.log`, because a resumed run repeats those epochs.

    A line that a crash cut off is removed as well.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _epoch_of(line) <= last_epoch]
    if kept != lines:
        with replacing(log, durable=True) as file:
            file.writelines(line.encode() for line in kept)


def _epoch_of(line: str) -> int:
    found = re.match(r"\S+ \S+  epoch (\d+)[/,]", line)
    return int(found.group(1)) if found else 0


class _FileHandler(logging.FileHandler):
    """Raises errors such as a full disk, which the standard library only prints."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # overridden
        """Raise the error that is being handled."""
        raise  # called from an `except` block


def format_seconds(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
