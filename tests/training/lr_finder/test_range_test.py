from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from small_runs import small_config

from cifar100 import commands
from cifar100.training.lr_finder import find as find_module
from cifar100.training.lr_finder import range_test as range_tests
from cifar100.training.lr_finder.range_test import MAX_LOSS_RATIO, RangeTest, range_test, steps_of_test
from cifar100.training.optimization.schedules import MIN_MOMENTUM


class Quadratic(L.LightningModule):
    """Loss w^2 / 2 at w = 1: SGD at rate r multiplies w by 1 - r, so every loss is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight.square().sum() / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=123.0)


def fit(test: RangeTest, *, max_epochs: int = 1000, module: L.LightningModule | None = None) -> Any:
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
    return range_test(trainer, module or Quadratic(), data)


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


class Layers(Quadratic):
    """Two layers, of which one learns at a tenth of the rate."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        other = torch.nn.Parameter(torch.ones(1))
        groups = [{"params": [self.weight], "lr_scale": 1.0}, {"params": [other], "lr_scale": 0.1}]
        self.optimizer = torch.optim.SGD(groups, lr=123.0)
        return self.optimizer


def test_layers_keep_the_ratio_of_their_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD,
        "step",
        lambda self, closure=None: (seen.append([group["lr"] for group in self.param_groups]), step(self, closure))[1],
    )
    test = RangeTest(num_steps=30)
    fit(test, module=Layers())
    assert [rates[0] for rates in seen] == pytest.approx(test.learning_rates[: len(seen)])
    assert [rates[1] for rates in seen] == pytest.approx([rate / 10 for rate in test.learning_rates[: len(seen)]])


def test_the_test_ends_when_the_loss_explodes() -> None:
    test = RangeTest(num_steps=150)
    fit(test)
    assert len(test.losses) < 150
    assert test.losses[-1] >= MAX_LOSS_RATIO * min(test.losses)
    assert all(loss < MAX_LOSS_RATIO * min(test.losses[: i + 1]) for i, loss in enumerate(test.losses[:-1]))


def test_the_test_ends_when_all_that_was_gained_is_lost() -> None:
    test = RangeTest(num_steps=300)
    test.losses = [*np.linspace(4.6, 4.0, 100), *np.linspace(4.0, 4.59, 100)]
    assert not test._has_risen()
    test.losses += [4.7] * 10
    assert test._has_risen()


def test_the_number_of_steps_is_that_of_an_epoch_within_limits() -> None:
    assert [steps_of_test(steps) for steps in (88, 450, 703, 5000)] == [300, 450, 700, 700]


class Observer(Callback):
    """Notes what every step is trained with."""

    def __init__(self) -> None:
        self.groups: list[list[dict[str, Any]]] = []
        self.sides: set[int] = set()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        names = ("lr", "momentum", "orthogonal")
        self.groups.append([{name: group.get(name) for name in names} for group in optimizer.param_groups])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.sides.add(batch[0].shape[-1])


@pytest.fixture
def observed(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Observer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(range_tests, "MIN_STEPS", 40)

    def find(**changes: Any) -> Observer:
        observer = Observer()
        built = find_module.build_trainer

        def build(*arguments: Any, callbacks: list[Callback], **options: Any) -> Any:
            return built(*arguments, callbacks=[*callbacks, observer], **options)

        monkeypatch.setattr(find_module, "build_trainer", build)
        commands.find_lr(small_config(tiny_data, **changes))
        return observer

    return find


def test_the_momentum_is_that_of_the_largest_learning_rate(observed: Callable[..., Observer]) -> None:
    cycle = {"optimization.schedule": "one_cycle", "optimization.cycle_momentum": True}
    found = observed(**cycle, **{"optimization.optimizer": "sgd"})
    assert {group["momentum"] for groups in found.groups for group in groups} == {MIN_MOMENTUM}


def test_the_images_have_the_size_that_they_have_at_the_largest_learning_rate(
    observed: Callable[..., Observer],
) -> None:
    sizes = {"training.resolutions": [16, 24, 32], "training.resolution_changes": [0.1, 0.5]}
    assert observed(**sizes, **{"optimization.pct_start": 0.2, "optimization.schedule": "linear"}).sides == {24}


def test_the_learning_rate_of_muon_itself_is_another_setting(observed: Callable[..., Observer]) -> None:
    groups = observed(**{"optimization.optimizer": "muon", "optimization.muon_learning_rate": 0.07}).groups
    assert {group["lr"] for step in groups for group in step if group["orthogonal"]} == {0.07}
    others = [[group["lr"] for group in step if not group["orthogonal"]] for step in groups]
    assert all(rates == [rates[0]] * len(rates) for rates in others)
    assert np.diff(np.log([rates[0] for rates in others])) == pytest.approx(np.log(1e6) / 39)
