"""The metrics of a run's epochs, `metrics.json`. The file is complete and valid at every moment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cifar100.errors import UserError
from cifar100.files.atomic import write_json

Epoch = dict[str, float]
"""`epoch` (from 1), `train/loss`, `train/accuracy`, `learning_rate`, `images_per_second` and `seconds`. With validation
images also `val/loss`, `val/accuracy` and `val/top5_accuracy`, and `val/averaged`, 1, if these are the metrics of the
moving average of the weights."""


class History:
    """The epochs of a run. Writes the file after each epoch.

    Args:
        path: the file. Reads the epochs that an earlier part of the run wrote.
        facts: constant entries, such as the name of the data set.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.facts = facts
        earlier = _read(path) if path.is_file() else {"epochs": []}
        self.epochs: list[Epoch] = earlier["epochs"]
        self.finished: bool = earlier.get("finished", False)

    def keep(self, num_epochs: int) -> None:
        """Drop all epochs after the first `num_epochs`, which a resumed run repeats."""
        self.epochs = self.epochs[:num_epochs]
        self.finished = False

    def add(self, epoch: Epoch) -> None:
        """Add an epoch and write the file."""
        self.epochs.append(epoch)
        self.write()

    def finish(self) -> None:
        """Mark the run as finished and write the file."""
        self.finished = True
        self.write()

    def write(self) -> None:
        """Write the file atomically."""
        write_json({**self.facts, "finished": self.finished, "best": self.best(), "epochs": self.epochs}, self.path)

    def best(self) -> Epoch | None:
        """Return the first epoch with the highest validation accuracy; None without validation images."""
        validated = [epoch for epoch in self.epochs if "val/accuracy" in epoch]
        return max(validated, key=lambda epoch: epoch["val/accuracy"], default=None)


def read_epochs(path: Path) -> list[Epoch]:
    """Read the epochs of a `metrics.json`.

    Raises:
        UserError: the file is damaged.
    """
    epochs: list[Epoch] = _read(path)["epochs"]
    return epochs


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content["epochs"], list):
            raise TypeError("no list of epochs")
        if not all(isinstance(epoch, dict) and _are_numbers(epoch.values()) for epoch in content["epochs"]):
            raise TypeError("an epoch holds a value that is not a number")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as the metrics of a run ({error}).") from error
    return content


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (int, float)) for value in values)
