from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.training.lr_finder.suggestions import load_result, save_result, suggest

RATES = np.geomspace(1e-5, 10, 300)


def falling_at(middle: float, *, noise: float = 0.0) -> list[float]:
    """A loss that falls from 4.6 to 2.6, most steeply at `middle`."""
    draws = np.random.default_rng(0).normal(size=len(RATES)) * noise
    return (4.6 - 2 / (1 + (middle / RATES) ** 2) + draws).tolist()


def valley(start: float, lowest: float) -> list[float]:
    """A loss that is level up to `start`, falls linearly on the log axis to `lowest`, and rises as it fell."""
    place = np.log(RATES / lowest) / np.log(lowest / start)
    return (4.6 - 2 * np.clip(1 - np.abs(place), 0, 1)).tolist()


@pytest.mark.parametrize("middle", [1e-3, 1e-2, 1e-1])
def test_steepest_is_where_the_loss_falls_most_steeply(middle: float) -> None:
    suggestions = suggest(RATES.tolist(), falling_at(middle)).suggestions
    assert suggestions["steepest"] == pytest.approx(middle, rel=0.15)


@pytest.mark.parametrize(("start", "lowest"), [(1e-3, 1e-1), (1e-2, 1.0)])
def test_valley_and_minimum_are_where_the_loss_has_them(start: float, lowest: float) -> None:
    suggestions = suggest(RATES.tolist(), valley(start, lowest)).suggestions
    assert suggestions["minimum / 10"] == pytest.approx(lowest / 10, rel=0.1)
    assert suggestions["valley"] == pytest.approx(math.sqrt(start * lowest), rel=0.25)


@pytest.mark.parametrize("first", [1.9, 2.1])
def test_of_two_deep_minima_the_last_counts(first: float) -> None:
    early, late = (np.array(valley(start, lowest)) for start, lowest in ((1e-4, 1e-2), (1e-1, 1.0)))
    losses = 4.6 - first * (4.6 - early) / 2 - (4.6 - late)
    assert suggest(RATES.tolist(), losses.tolist()).suggestions["minimum / 10"] == pytest.approx(0.1, rel=0.2)


def test_a_shallow_minimum_does_not_count() -> None:
    early, late = (np.array(valley(start, lowest)) for start, lowest in ((1e-4, 1e-2), (1e-1, 1.0)))
    losses = early - 0.3 * (4.6 - late)
    assert suggest(RATES.tolist(), losses.tolist()).suggestions["minimum / 10"] == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize("name", ["steepest", "valley", "minimum / 10"])
def test_noise_moves_a_suggestion_little(name: str) -> None:
    clean = suggest(RATES.tolist(), valley(1e-3, 1e-1)).suggestions[name]
    draws = np.random.default_rng(0).normal(size=len(RATES)) * 0.15
    noisy = suggest(RATES.tolist(), (np.array(valley(1e-3, 1e-1)) + draws).tolist()).suggestions[name]
    assert 0.5 < noisy / clean < 2


def test_one_of_the_suggestions_is_taken() -> None:
    result = suggest(RATES.tolist(), valley(1e-3, 1e-1))
    assert result.learning_rate == result.suggestions[result.taken]


def test_what_follows_the_divergence_does_not_count() -> None:
    losses = falling_at(1e-2)
    losses[240:] = [math.nan] * 60
    result = suggest(RATES.tolist(), losses)
    assert result.suggestions["steepest"] == pytest.approx(1e-2, rel=0.15)
    assert len(result.losses) == 240


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([4.6] * 300, "fell by 0.0%"),
        (np.linspace(4.6, 9, 300).tolist(), "no suggestion"),
        ([4.6] * 5 + [math.inf] * 295, "only 5 steps"),
    ],
)
def test_without_a_fall_there_is_a_clear_error(losses: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        suggest(RATES.tolist(), losses)
    assert "--optimization.learning_rate" in str(caught.value)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    run, result = RunFolder(tmp_path), suggest(RATES.tolist(), valley(1e-3, 1e-1))
    save_result(result, run)
    assert load_result(run) == result
    run.lr_finder_points.write_text('{"learning_rate": 0.1}')
    with pytest.raises(UserError, match="holds no result"):
        load_result(run)
