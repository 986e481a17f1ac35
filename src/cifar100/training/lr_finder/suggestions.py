"""The learning rates that the losses of a range test suggest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.files.regular import read_json
from cifar100.runs.folder import RunFolder

SMOOTHING_DECADES = 0.15
"""Standard deviation of the Gaussian that smooths the losses, in decades of the learning rate."""

MIN_STEPS = 10
MIN_FALL = 0.01
"""Minimum fall of the smoothed loss, as a fraction of its first value; less is noise."""

START_OF_THE_FALL = 0.05
"""The valley begins where this fraction of the fall is done."""

DEEP = 0.5
"""Fraction of the whole fall that is done at every minimum that counts. With batch normalisation the loss often rises
in between and falls again, and which of the minima is the lowest is chance; the last one hardly moves with the seed."""


@dataclass(frozen=True, kw_only=True)
class RangeTestResult:
    """The outcome of a range test."""

    learning_rate: float
    """The suggestion that is taken."""

    taken: str
    """The name of that suggestion."""

    suggestions: dict[str, float]
    """`steepest`, where the smoothed loss falls most steeply on the log axis; `valley`, the middle of its fall on the
    log axis; `minimum / 10`, a tenth of the learning rate at its last deep minimum."""

    learning_rates: list[float]
    losses: list[float]
    """Training loss of one batch at each learning rate."""

    smoothed_losses: list[float]


def suggest(learning_rates: Sequence[float], losses: Sequence[float]) -> RangeTestResult:
    """Return the suggestions of a range test, and the one to take.

    Args:
        learning_rates: rising, equally spaced on the log axis.
        losses: the training loss at each of them.

    Raises:
        UserError: the loss never falls, or too few losses are finite.
    """
    finite = np.isfinite(losses)
    usable = int(finite.argmin()) if not finite.all() else len(losses)
    advice = "try a smaller --data.batch_size or more epochs of data, or set --optimization.learning_rate to a number."
    if usable < MIN_STEPS:
        raise UserError(f"the learning-rate finder has no suggestion: only {usable} steps gave a finite loss; {advice}")
    rates, raw = np.asarray(learning_rates[:usable]), np.asarray(losses[:usable])
    smoothed = _smooth(raw, steps=SMOOTHING_DECADES / math.log10(rates[1] / rates[0]))
    lowest = _last_deep_minimum(smoothed)
    highest = int(smoothed[: lowest + 1].argmax())
    fall = smoothed[highest] - smoothed[lowest]
    if lowest < 2 or fall < MIN_FALL * abs(smoothed[0]):
        raise UserError(
            f"the learning-rate finder has no suggestion: the loss fell by {fall / abs(smoothed[0]):.1%} between the "
            f"learning rates {rates[0]:.1e} and {rates[-1]:.1e}; {advice}"
        )
    slope = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
    falling = smoothed[highest] - smoothed[: lowest + 1] < START_OF_THE_FALL * fall
    start = int(np.flatnonzero(falling).max())
    suggestions = {
        "steepest": float(rates[slope.argmin()]),
        "valley": float(math.sqrt(rates[start] * rates[lowest])),
        "minimum / 10": float(rates[lowest] / 10),
    }
    taken = "minimum / 10"
    return RangeTestResult(
        learning_rate=suggestions[taken],
        taken=taken,
        suggestions=suggestions,
        learning_rates=rates.tolist(),
        losses=raw.tolist(),
        smoothed_losses=smoothed.tolist(),
    )


def _last_deep_minimum(smoothed: NDArray[np.float64]) -> int:
    lowest = int(smoothed.argmin())
    level = smoothed[: lowest + 1].max()
    enough = smoothed <= level - DEEP * (level - smoothed[lowest])
    inner = smoothed[1:-1]
    minima = np.flatnonzero(enough[1:-1] & (inner <= smoothed[:-2]) & (inner <= smoothed[2:])) + 1
    return max([lowest, *minima.tolist()])


def save_result(result: RangeTestResult, run: RunFolder) -> None:
    """Write `lr_finder.json`."""
    write_json(asdict(result), run.lr_finder_points)


def load_result(run: RunFolder) -> RangeTestResult:
    """Read the result of an earlier test of a run."""
    content = read_json(run.lr_finder_points)
    try:
        return RangeTestResult(**content)
    except TypeError as error:
        raise UserError(f"{run.lr_finder_points} holds no result of a range test; remove {run.path}.") from error


def _smooth(values: NDArray[np.float64], *, steps: float) -> NDArray[np.float64]:
    """Smooth with a Gaussian of a standard deviation in steps, normalised at the ends."""
    places = np.arange(len(values))
    weights = np.exp(-0.5 * ((places[:, None] - places) / steps) ** 2)
    smoothed: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
    return smoothed
