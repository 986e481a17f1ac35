"""The tests and intervals of a comparison against scipy's other routes and against textbook formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from cifar100.results.comparison.statistics import (
    MeanDifference,
    is_more_than_chance,
    mean_difference,
    paired_difference,
    spread,
)


def outcomes(both: int, only_reference: int, only_run: int, neither: int) -> tuple[NDArray[np.bool_], ...]:
    """Whether the reference and the run are right, for a table of outcomes."""
    counts = (both, only_reference, only_run, neither)
    order = np.random.default_rng(0).permutation(sum(counts))
    return tuple(np.repeat(np.array(column, dtype=bool), counts)[order] for column in ((1, 1, 0, 0), (1, 0, 1, 0)))


@pytest.mark.parametrize("table", [(300, 40, 60, 100), (10, 3, 0, 2), (0, 0, 1, 4), (5, 0, 0, 5)])
def test_the_outcomes_are_counted(table: tuple[int, int, int, int]) -> None:
    reference, run = outcomes(*table)
    found = paired_difference(reference, run)
    pairs = list(zip(reference, run, strict=True))
    assert found.num_both_right == sum(a and b for a, b in pairs) == table[0]
    assert found.num_only_reference_right == sum(a and not b for a, b in pairs) == table[1]
    assert found.num_only_run_right == sum(b and not a for a, b in pairs) == table[2]
    assert found.num_both_wrong == sum(not a and not b for a, b in pairs) == table[3]
    assert found.difference == pytest.approx(run.mean() - reference.mean())


@pytest.mark.parametrize(("only_reference", "only_run"), [(40, 60), (9, 1), (0, 5), (7, 7), (0, 0), (198, 421)])
def test_the_exact_test_is_that_of_mcnemar(only_reference: int, only_run: int) -> None:
    """Twice the tail of a binomial distribution, term by term."""
    total = only_reference + only_run
    tail = sum(math.comb(total, count) for count in range(min(only_reference, only_run) + 1)) / 2**total
    found = paired_difference(*outcomes(50, only_reference, only_run, 50))
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))


def test_the_exact_test_is_near_its_approximation() -> None:
    """The approval ratings of Agresti, Categorical Data Analysis, with the chi-squared test of Edwards (1948)."""
    found = paired_difference(*outcomes(794, 150, 86, 570))
    assert found.difference == pytest.approx(-0.04)
    assert found.p_value == pytest.approx(stats.chi2.sf((150 - 86 - 1) ** 2 / (150 + 86), df=1), rel=0.15)


@pytest.mark.parametrize("table", [(300, 40, 60, 100), (20, 10, 4, 6), (880, 3, 17, 100)])
def test_the_interval_is_that_of_the_paired_bootstrap(table: tuple[int, int, int, int]) -> None:
    reference, run = (values.astype(float) for values in outcomes(*table))
    oracle = stats.bootstrap(
        (run, reference),
        lambda a, b, axis: (a - b).mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        batch=500,
        rng=np.random.default_rng(1),
    )
    found = paired_difference(reference.astype(bool), run.astype(bool))
    tolerance = 0.15 * oracle.standard_error
    assert found.interval == pytest.approx(tuple(oracle.confidence_interval), abs=tolerance)


def test_the_interval_is_narrower_than_that_of_unpaired_figures() -> None:
    found = paired_difference(*outcomes(500, 20, 40, 440))
    unpaired = 1.96 * math.sqrt(0.52 * 0.48 / 1000 + 0.54 * 0.46 / 1000)
    assert (found.interval[1] - found.interval[0]) / 2 < unpaired / 2


@pytest.mark.parametrize(
    ("reference", "group"),
    [([0.70, 0.71, 0.705], [0.72, 0.724, 0.711, 0.73]), ([0.5, 0.6], [0.55, 0.58]), ([0.7, 0.7], [0.71, 0.73])],
)
def test_groups_are_compared_as_welch_does(reference: list[float], group: list[float]) -> None:
    variances = [np.var(values, ddof=1) / len(values) for values in (group, reference)]
    error = math.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / sum(
        variance**2 / (len(values) - 1) for variance, values in zip(variances, (group, reference), strict=True)
    )
    difference = float(np.mean(group) - np.mean(reference))
    half = stats.t.ppf(0.975, freedom) * error
    found = mean_difference(reference, group)
    assert found.difference == pytest.approx(difference)
    assert found.interval == pytest.approx((difference - half, difference + half))
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(difference) / error, freedom))


def test_the_interval_of_few_runs_does_not_exceed_possible_differences() -> None:
    assert mean_difference([0.1, 0.9], [0.2, 0.7]).interval == (-1, 1)


def test_groups_without_any_spread_have_no_interval() -> None:
    found = mean_difference([0.5, 0.5], [0.75, 0.75])
    assert found == MeanDifference(difference=0.25, interval=None, p_value=None)
    assert not is_more_than_chance(found.p_value, num_comparisons=1)


def test_the_spread_is_that_of_a_sample() -> None:
    assert spread([0.70, 0.72]).mean == pytest.approx(0.71)
    assert spread([0.70, 0.72]).deviation == pytest.approx(0.02 / math.sqrt(2))
    assert spread([0.70]).deviation is None


def test_more_comparisons_need_smaller_p_values() -> None:
    assert is_more_than_chance(0.02, num_comparisons=2)
    assert not is_more_than_chance(0.02, num_comparisons=3)
