"""The record of a run's epochs, `metrics.json`: complete and valid at every moment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cifar100.atomic_files import write_json
from cifar100.errors import UserError

Epoch = dict[str, float]
"""`epoch` counted from 1, `train/loss`, `train/accuracy`, `learning_rate`, `images_per_second`, `seconds`, and, with
validation images, `val/loss`, `val/accuracy`, `val/top5_accuracy`, and `val/averaged`, 1, where those are of the moving
average of the weights."""


class History:
    """The epochs of a run, written after each of them.

    Args:
        path: the file; what an earlier part of the run left in it is read.
        facts: what does not change from epoch to epoch, such as the data set's name.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.facts = facts
        earlier = _read(path) if path.is_file() else {"epochs": []}
        self.epochs: list[Epoch] = earlier["epochs"]
        self.finished: bool = earlier.get("finished", False)

    def keep(self, num_epochs: int) -> None:
        """Drop the epochs after the first `num_epochs`: a resumed run does them again."""
        self.epochs = self.epochs[:num_epochs]
        self.finished = False

    def add(self, epoch: Epoch) -> None:
        """Add an epoch and write the file."""
        self.epochs.append(epoch)
        self.write()

    def finish(self) -> None:
        """Note that the run has come to its end."""
        self.finished = True
        self.write()

    def write(self) -> None:
        """Write the file beside itself, then rename it, so that a reader never sees half of it."""
        write_json({**self.facts, "finished": self.finished, "best": self.best(), "epochs": self.epochs}, self.path)

    def best(self) -> Epoch | None:
        """Return the epoch with the highest validation accuracy, the first of equals; None without validation."""
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
            raise TypeError("an epoch that holds something else than numbers")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as the metrics of a run ({error}).") from error
    return content


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (int, float)) for value in values)
