"""The table of epochs on the screen: a row for each, or for one in n if a run has many short ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from cifar100.runs.history import Epoch
from cifar100.training.reporting.run_log import RunLog

SHORT_SECONDS = 2.0
"""An epoch of less is short. Longer ones all have a row."""

MAX_ROWS = 50
"""Maximum number of rows of a run of short epochs, apart from the first and the last."""


class EpochTable:
    """Shows a row for each epoch; if there are many short ones, for the first, for one in n, and for the last.

    The result of the run names the best epoch. `metrics.json`, `metrics.csv` and `training.log` have all.

    Args:
        run_log: its screen shows the rows.
    """

    def __init__(self, run_log: RunLog) -> None:
        self._run_log = run_log
        self._has_validation = True
        self._is_explained = self._has_rows = False
        self._left_out: str | None = None
        """The row of the last epoch, if it was not shown."""

    def begin(self, *, has_validation: bool) -> None:
        """Show the heads of the columns."""
        self._has_validation = has_validation
        self._run_log.show(_HEAD if has_validation else _HEAD_WITHOUT_VALIDATION)

    def add(self, epoch: Epoch, *, number: str, left: str, num_epochs: int) -> None:
        """Show the row of an epoch, or keep it in case it is the last.

        Args:
            epoch: its metrics.
            number: as `epoch_number` returns it.
            left: time left.
            num_epochs: of the run, as far as that is known.
        """
        row = _row(number, epoch, left, has_validation=self._has_validation)
        every = rows_apart(epoch["seconds"], num_epochs)
        if not self._has_rows or epoch["epoch"] % every == 0:
            self._run_log.show(row)
            self._has_rows, self._left_out = True, None
            return
        if not self._is_explained:
            self._run_log.show(f"These epochs are short, so one in {every} is shown. metrics.csv has all of them.")
            self._is_explained = True
        self._left_out = row

    def end(self) -> None:
        """Show the row of the last epoch, if that was left out."""
        if self._left_out is not None:
            self._run_log.show(self._left_out)
            self._left_out = None


def rows_apart(seconds: float, num_epochs: int) -> int:
    """Return n: one in n epochs has a row. It is 1, 2, 5, 10, 20, 50, ...

    Args:
        seconds: duration of an epoch.
        num_epochs: of the run.
    """
    if seconds >= SHORT_SECONDS:
        return 1
    steps: Iterator[int] = (factor * 10**power for power in count() for factor in (1, 2, 5))
    return next(step for step in steps if num_epochs <= MAX_ROWS * step)


_HEAD = "  epoch    loss  accuracy  val loss  val accuracy  images/s  time left"
_HEAD_WITHOUT_VALIDATION = "  epoch    loss  accuracy  images/s  time left"


def _row(number: str, epoch: Epoch, left: str, *, has_validation: bool) -> str:
    row = f"{number:>7}  {epoch['train/loss']:6.3f}  {epoch['train/accuracy']:8.2%}"
    if "val/loss" in epoch:
        row += f"  {epoch['val/loss']:8.3f}  {epoch['val/accuracy']:12.2%}"
    elif has_validation:
        row += " " * 24
    return row + f"  {epoch['images_per_second']:8,.0f}  {left:>9}"
