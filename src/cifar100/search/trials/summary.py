"""What trials have in common: mean, deviation and interval of their figures, and the rule of the measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar100.results.comparison.statistics import mean_interval, spread
from cifar100.runs.folder import RunFolder
from cifar100.search.trials.lines import Line


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure over all trials."""

    name: str
    num_trials: int
    mean: float
    deviation: float | None
    """Standard deviation, with n - 1; None for a single trial."""

    interval: tuple[float, float] | None
    """95 % interval of the mean (Student's t), within the possible values; None for a single trial."""


@dataclass(frozen=True, kw_only=True)
class TrialsResult:
    """The trials of one command."""

    name: str
    lines: list[Line]
    figures: list[Figure]
    """Accuracies, 0 to 1, and seconds."""

    rule: str
    """Which images the figures are of, and how often they were opened."""

    file: Path
    """One line of JSON for each trial."""

    probabilities: Path | None
    """With folds: of each training image, by the network that was not trained on it."""

    @property
    def runs(self) -> list[RunFolder]:
        """The runs, in the order of the lines."""
        return [RunFolder(Path(line["run"])) for line in self.lines]


def summarize(lines: Sequence[Line], *, split: str) -> list[Figure]:
    """Return mean, deviation and interval of what the trials reached; a figure that none has is left out."""
    figures = []
    for name in (f"{split} accuracy", "seconds", "epochs"):
        values = [line[name.replace(" ", "_")] for line in lines if line.get(name.replace(" ", "_")) is not None]
        if values:
            figures.append(
                Figure(
                    name=name,
                    num_trials=len(values),
                    mean=spread(values).mean,
                    deviation=spread(values).deviation,
                    interval=mean_interval(values, low=0.0, high=1.0 if name.endswith("accuracy") else math.inf),
                )
            )
    return figures


def describe_rule(lines: Sequence[Line], *, split: str, checkpoint: str, folds: int | None) -> str:
    """Return which images the accuracy is of, how often they were opened, and what chose the weights."""
    measured = [line for line in lines if not line["diverged"]]
    count = f"{measured[0]['num_images']:,} " if measured else ""
    each = f"{len(measured)} network{'s' * (len(measured) != 1)}"
    diverged = len(lines) - len(measured)
    lost = f" {diverged} diverged and {'is' if diverged == 1 else 'are'} not in the mean." if diverged else ""
    weights = "the last weights"
    if checkpoint == "best":
        on = "the same images, so it is optimistic" if split == "validation" else "validation images"
        weights = f"the weights of the best epoch, which was chosen on {on}"
    if folds is not None:
        return (
            f"Each training image was measured once, by the network that was not trained on it ({folds} folds), with "
            f"{weights}. The test images were not used. The folds share training images, so the interval is "
            f"approximate.{lost}"
        )
    if split == "validation":
        return (
            f"Measured on the {count}validation images, the same for all seeds, once for each of {each}, with "
            f"{weights}. The test images were not used. The interval is over seeds.{lost}"
        )
    return (
        f"The {count}test images were opened once for each of {each}, with {weights}. The seeds were fixed beforehand. "
        f"The interval is over seeds.{lost}"
    )
