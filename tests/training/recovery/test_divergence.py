"""Losses and weights that are not finite are detected at the right step, and by all processes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cifar100.errors import Diverged
from cifar100.training.recovery.divergence import LossWatch, check_weights

NAN, INFINITY = float("nan"), float("inf")


def alone(values: Tensor) -> Tensor:
    """The maximum over one process."""
    return values


def watch(losses: list[float], *, limit: int) -> LossWatch:
    watch = LossWatch(limit)
    for step, loss in enumerate(losses):
        watch.add(torch.tensor(loss), step=step, learning_rate=0.1 * (step + 1))
    return watch


@pytest.mark.parametrize("losses", [[], [1.0], [NAN, NAN, 1.0], [NAN, 1.0, INFINITY, 1.0]])
def test_losses_are_clean_if_the_last_is_finite(losses: list[float]) -> None:
    assert watch(losses, limit=3).check(alone)


def test_a_short_row_is_no_divergence_but_not_clean() -> None:
    assert not watch([1.0, NAN, -INFINITY], limit=3).check(alone)


@pytest.mark.parametrize(
    ("losses", "limit", "step", "rate"),
    [
        ([NAN], 1, 1, "0.1"),
        ([1.0, NAN, NAN, NAN], 3, 2, "0.2"),
        ([NAN, 1.0, NAN, INFINITY, NAN, 1.0], 2, 3, "0.3"),  # detected although the last loss is finite
        ([NAN, NAN, 1.0, NAN, NAN, NAN], 2, 1, "0.1"),  # the first of two
    ],
)
def test_a_divergence_names_its_first_step_and_its_learning_rate(
    losses: list[float], limit: int, step: int, rate: str
) -> None:
    with pytest.raises(Diverged, match=rf"not finite at step {step}, at a learning rate of {rate}$"):
        watch(losses, limit=limit).check(alone)


@pytest.mark.parametrize(("losses", "step"), [([NAN], 1), ([1.0, NAN, INFINITY], 2)])
def test_at_the_end_one_loss_that_is_not_finite_is_a_divergence(losses: list[float], step: int) -> None:
    with pytest.raises(Diverged, match=rf"not finite at step {step}, at a learning rate of 0.{step}$"):
        watch(losses, limit=3).check(alone, at_the_end=True)
    assert watch([NAN, 1.0], limit=3).check(alone, at_the_end=True)


def test_the_state_of_another_process_counts() -> None:
    here, there = watch([1.0, 1.0], limit=2), watch([1.0, NAN], limit=2)
    states: list[Tensor] = []

    def both(values: Tensor) -> Tensor:
        states.append(values)
        return torch.stack(states).amax(0)

    assert not there.check(both)
    assert not here.check(both)
    there.add(torch.tensor(NAN), step=2, learning_rate=0.3)
    here.add(torch.tensor(1.0), step=2, learning_rate=0.3)
    for process in (there, here):
        with pytest.raises(Diverged, match=r"step 2, at a learning rate of 0\.2"):
            process.check(both)


def test_weights_that_are_not_finite_are_a_divergence() -> None:
    good = [torch.ones(3), torch.tensor(5), torch.zeros(2, 2)]
    check_weights(good, alone, step=4, learning_rate=0.1)
    check_weights([torch.tensor(5)], alone, step=4, learning_rate=0.1)
    for bad in (NAN, INFINITY):
        with pytest.raises(Diverged, match=r"weights are not finite after step 5, at a learning rate of 0\.1$"):
            check_weights([*good, torch.tensor([1.0, bad])], alone, step=4, learning_rate=0.1)
    with pytest.raises(Diverged):
        check_weights(good, torch.ones_like, step=4, learning_rate=0.1)  # another process has one
