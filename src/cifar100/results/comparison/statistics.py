"""Whether a difference of two accuracies is more than chance: between two networks, and between two groups of runs.

Two networks that were measured on the same images are compared image by image. That covers the choice of images. It
says nothing about another seed: for that, groups of runs are compared, and the runs are the sample, not the images.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 10_000

LEVEL = 0.05
"""A difference is more than chance if its p-value is below this, divided by the number of comparisons."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The accuracy of one network minus that of a reference, on the same images."""

    difference: float
    """-1 to 1; above 0: better than the reference."""

    interval: tuple[float, float]
    """95 % bootstrap interval of the difference over the choice of images (Efron, 1979)."""

    p_value: float
    """Of McNemar's exact test (McNemar, 1947): the probability of a difference at least as large by chance."""

    num_both_right: int
    num_only_reference_right: int
    num_only_run_right: int
    num_both_wrong: int


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The accuracies of the runs of one group."""

    mean: float
    deviation: float | None
    """Standard deviation over the runs, with n - 1; None for a single run."""


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """The mean accuracy of one group of runs minus that of a reference group."""

    difference: float

    interval: tuple[float, float] | None
    """95 % interval of Welch (1947), which allows for groups of different spread, within -1 and 1. None if all runs of
    each group have the same accuracy."""

    p_value: float | None
    """Of Welch's t-test, two-sided."""


def paired_difference(reference: NDArray[np.bool_], run: NDArray[np.bool_]) -> PairedDifference:
    """Compare two networks by whether they are right on each image, bool (N,) each."""
    from scipy import stats  # takes a second to import

    table = np.bincount(2 * reference + run, minlength=4)
    both_wrong, only_run, only_reference, both_right = table.tolist()
    total = len(run)
    # Resampled images fall into the four cells of the table like the draws of a multinomial distribution.
    resampled = np.random.Generator(np.random.PCG64(0)).multinomial(total, table / total, size=NUM_RESAMPLES)
    low, high = np.quantile((resampled[:, 1] - resampled[:, 2]) / total, (0.025, 0.975))
    discordant = only_run + only_reference
    return PairedDifference(
        difference=(only_run - only_reference) / total,
        interval=(float(low), float(high)),
        p_value=float(stats.binomtest(only_run, discordant, 0.5).pvalue) if discordant else 1.0,
        num_both_right=both_right,
        num_only_reference_right=only_reference,
        num_only_run_right=only_run,
        num_both_wrong=both_wrong,
    )


def spread(accuracies: Sequence[float]) -> Spread:
    """Return mean and standard deviation of the accuracies of at least one run."""
    deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return Spread(mean=float(np.mean(accuracies)), deviation=deviation)


def mean_interval(
    values: Sequence[float], *, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean (Student's t; "Student", 1908); None for a single value.

    low, high: limits of possible values, which the interval does not exceed: with few values it is wide.
    """
    from scipy import stats

    if len(values) < 2:
        return None
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return max(mean - half, low), min(mean + half, high)


def mean_difference(reference: Sequence[float], group: Sequence[float]) -> MeanDifference:
    """Compare two groups by the accuracies of their runs, at least two each."""
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the runs of a group may have equal accuracies
        test = stats.ttest_ind(group, reference, equal_var=False)
        interval = test.confidence_interval(0.95)
    low, high, p_value = float(interval.low), float(interval.high), float(test.pvalue)
    is_defined = math.isfinite(low) and math.isfinite(high) and low < high
    return MeanDifference(
        difference=float(np.mean(group) - np.mean(reference)),
        interval=(max(low, -1.0), min(high, 1.0)) if is_defined else None,
        p_value=p_value if is_defined else None,
    )


def is_more_than_chance(p_value: float | None, *, num_comparisons: int) -> bool:
    """Return whether a p-value is below `LEVEL`, divided by the number of comparisons (Bonferroni)."""
    return p_value is not None and p_value < LEVEL / num_comparisons
