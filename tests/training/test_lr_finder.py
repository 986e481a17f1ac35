from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cifar100.errors import UserError
from cifar100.training.lr_finder import LIGHTNING_SMOOTHING, _raw_losses, plot_suggestion, suggest

RATES = np.logspace(-5, 1, 150)


def falling_at(middle: float, *, noise: float = 0.0) -> list[float]:
    """A loss that falls from 4.6 to 2.6, most steeply at `middle`."""
    draws = np.random.default_rng(0).normal(size=len(RATES)) * noise
    return (4.6 - 2 / (1 + (middle / RATES) ** 2) + draws).tolist()


@pytest.mark.parametrize("middle", [1e-3, 1e-2, 1e-1])
def test_the_suggestion_is_where_the_loss_falls_most_steeply(middle: float) -> None:
    assert suggest(RATES.tolist(), falling_at(middle)).learning_rate == pytest.approx(middle, rel=0.15)


def test_noise_moves_the_suggestion_little() -> None:
    assert 0.005 < suggest(RATES.tolist(), falling_at(1e-2, noise=0.1)).learning_rate < 0.02


def test_what_follows_the_divergence_does_not_count() -> None:
    losses = falling_at(1e-2)
    losses[120:] = [math.nan] * 30
    suggestion = suggest(RATES.tolist(), losses)
    assert suggestion.learning_rate == pytest.approx(1e-2, rel=0.15)
    assert len(suggestion.losses) == 120


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([4.6] * 150, "fell by 0.0%"),
        (np.linspace(4.6, 9, 150).tolist(), "no suggestion"),
        ([4.6] * 5 + [math.inf] * 145, "only 5 steps"),
    ],
)
def test_without_a_fall_there_is_a_clear_error(losses: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        suggest(RATES.tolist(), losses)
    assert "--optimization.learning_rate" in str(caught.value)


def test_lightnings_running_mean_is_undone() -> None:
    losses = np.random.default_rng(0).uniform(1, 5, size=50)
    mean, shown = 0.0, []
    for step, loss in enumerate(losses, start=1):  # as in lightning.pytorch.tuner.lr_finder, _LRCallback
        mean = LIGHTNING_SMOOTHING * mean + (1 - LIGHTNING_SMOOTHING) * loss
        shown.append(mean / (1 - LIGHTNING_SMOOTHING ** (step + 1)))
    assert _raw_losses(shown) == pytest.approx(losses.tolist())


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    plot_suggestion(suggest(RATES.tolist(), falling_at(1e-2, noise=0.1)), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
