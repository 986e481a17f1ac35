from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from cifar100.errors import UserError
from cifar100.training.lr_finder import MAX_LOSS_RATIO, RangeTest, plot_suggestion, range_test, suggest

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


class Quadratic(L.LightningModule):
    """Loss w^2 / 2 at w = 1: SGD at rate r multiplies w by 1 - r, so every loss is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight.square().sum() / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=123.0)


def fit(test: RangeTest, *, max_epochs: int = 1000) -> Any:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        callbacks=[test],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = L.LightningDataModule.from_datasets(torch.zeros(4), batch_size=1, num_workers=0)
    return range_test(trainer, Quadratic(), data)


def test_every_step_has_its_own_learning_rate_and_raw_loss() -> None:
    test, state = RangeTest(num_steps=30), torch.get_rng_state()
    suggestion = fit(test)
    weight, expected = 1.0, []
    for rate in np.geomspace(1e-5, 10, 30):
        expected.append(weight**2 / 2)
        weight *= 1 - rate
    assert test.losses == pytest.approx(expected[: len(test.losses)], rel=1e-4)
    assert len(test.losses) > 20
    assert suggestion.learning_rates == pytest.approx(np.geomspace(1e-5, 10, 30)[: len(test.losses)])
    assert 0.01 < suggestion.learning_rate < 2
    assert torch.equal(torch.get_rng_state(), state)


def test_the_test_ends_when_the_loss_explodes() -> None:
    test = RangeTest(num_steps=150)
    fit(test)
    assert len(test.losses) < 150
    assert test.losses[-1] >= MAX_LOSS_RATIO * min(test.losses)
    assert all(loss < MAX_LOSS_RATIO * min(test.losses[: i + 1]) for i, loss in enumerate(test.losses[:-1]))


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    plot_suggestion(suggest(RATES.tolist(), falling_at(1e-2, noise=0.1)), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
