"""The metrics of a run's epochs, `metrics.json` and `metrics.csv`. Both are complete and valid at every moment."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cifar100.errors import UserError
from cifar100.files.atomic import write_atomically, write_json
from cifar100.files.schema import all_of, boolean, fields, list_of, map_of, nothing_or, number, read_as, whole
from cifar100.foreign_text import reason
from cifar100.runs.folder import RunFolder
from cifar100.runs.status import FolderWatch
from cifar100.terminal import warn

Epoch = dict[str, float]
"""`epoch` (from 1), `train/loss`, `train/accuracy`, `learning_rate`, `images_per_second` and `seconds`. With validation
images also `val/loss`, `val/accuracy` and `val/top5_accuracy`, and `val/averaged`, 1, if these are the metrics of the
moving average of the weights."""


class History:
    """The epochs of a run. Writes the files after each epoch.

    Args:
        path: `metrics.json`. Reads the epochs that an earlier part of the run wrote.
        facts: constant entries, such as the name of the data set.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.facts = facts
        self._run = RunFolder(path.parent)
        self._folder = FolderWatch(self._run)
        self._writes_table = True
        earlier = _read(path) if os.path.lexists(path) else {"epochs": []}
        self.epochs = _epochs(earlier)
        self.finished: bool = earlier.get("finished", False)

    def keep(self, num_epochs: int) -> None:
        """Drop all epochs after the first `num_epochs`, which a resumed run repeats."""
        self.epochs = [epoch for epoch in self.epochs if epoch["epoch"] <= num_epochs]
        self.finished = False

    def add(self, epoch: Epoch) -> None:
        """Add an epoch and write the files."""
        self.epochs.append(epoch)
        self.write()

    def finish(self) -> None:
        """Mark the run as finished and write the files."""
        self.finished = True
        self.write()

    def write(self) -> None:
        """Write both files atomically, if the folder is still that of the run."""
        self._folder.check()
        write_json({**self.facts, "finished": self.finished, "best": self.best(), "epochs": self.epochs}, self.path)
        self._write_table()

    def _write_table(self) -> None:
        """Write `metrics.csv`. A failure is one warning: the file holds nothing that `metrics.json` does not."""
        if not self._writes_table:
            return
        try:
            write_atomically(self._run.metrics_table, csv_text(self.epochs).encode())
        except OSError as error:
            self._writes_table = False
            warn(f"{self._run.metrics_table} cannot be written ({reason(error)}); the run continues without it.")

    def best(self) -> Epoch | None:
        """Return the first epoch with the highest validation accuracy; None without validation images."""
        return best_epoch(self.epochs)


def best_epoch(epochs: Sequence[Epoch]) -> Epoch | None:
    """Return the first epoch with the highest validation accuracy; None without validation images."""
    validated = [epoch for epoch in epochs if math.isfinite(epoch.get("val/accuracy", math.nan))]
    return max(validated, key=lambda epoch: epoch["val/accuracy"], default=None)


def csv_text(epochs: Sequence[Epoch]) -> str:
    """Return a table with a row for each epoch. A cell is empty if the epoch has no such value, or none that is finite.

    The epoch with the most values determines the order of the columns: the first may not have been validated.
    """
    longest_first = sorted(epochs, key=len, reverse=True)
    columns = list(dict.fromkeys(name for epoch in longest_first for name in epoch))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    for epoch in epochs:
        writer.writerow({name: value for name, value in epoch.items() if math.isfinite(value)})
    return table.getvalue()


def read_epochs(path: Path) -> list[Epoch]:
    """Read the epochs of a `metrics.json`.

    Raises:
        UserError: the file is damaged.
    """
    return _epochs(_read(path))


_VALUE = nothing_or(number())
"""A number, or null for one that is not finite."""

_EPOCH = all_of(map_of(_VALUE), fields({"epoch": whole(1)}))

_METRICS = fields({"epochs": list_of(_EPOCH)}, optional={"finished": boolean})


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_as(path, _METRICS)
        numbers = [epoch["epoch"] for epoch in content["epochs"]]
        if numbers != sorted(set(numbers)):
            raise ValueError("its epochs are not in ascending order")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as the metrics of a run ({reason(error)}); restore it.") from error
    return content


def _epochs(content: dict[str, Any]) -> list[Epoch]:
    """Return the epochs of a file, which holds null instead of numbers that are not finite."""
    return [
        {name: math.nan if value is None else value for name, value in epoch.items()} for epoch in content["epochs"]
    ]
