"""Lightning's Trainer as this project configures it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from cifar100.config import OptimizationConfig, TrainingConfig
from cifar100.training.optimization.clock import RunClock
from cifar100.training.optimization.optimizers import build_optimizer
from cifar100.training.recovery.checkpoint_io import SafeCheckpointIO
from cifar100.training.trainer import StepLearningRate, StopAtTheEnd, build_trainer, callbacks_of

CPU = {"accelerator": "cpu"}


def test_settings_reach_the_trainer(tmp_path: Path) -> None:
    config = TrainingConfig(**CPU, max_epochs=2.5, validate_every=3, limit_train_batches=7, precision="bf16-mixed")
    trainer = build_trainer(config, tmp_path, callbacks=[StopAtTheEnd(RunClock(1))])
    assert (trainer.max_epochs, trainer.check_val_every_n_epoch, trainer.limit_train_batches) == (3, 3, 7)
    assert trainer.precision == "bf16-mixed"
    assert isinstance(trainer.strategy.checkpoint_io, SafeCheckpointIO)
    assert trainer.loggers == []


def test_a_time_limit_replaces_the_number_of_epochs(tmp_path: Path) -> None:
    trainer = build_trainer(TrainingConfig(**CPU, max_minutes=5.0), tmp_path, callbacks=[])
    assert trainer.max_epochs == -1


def test_validation_can_be_left_out(tmp_path: Path) -> None:
    assert build_trainer(TrainingConfig(**CPU), tmp_path, callbacks=[], validate=False).limit_val_batches == 0


def test_callbacks_and_loggers_are_those_given(tmp_path: Path) -> None:
    monitor, logger = LearningRateMonitor(), CSVLogger(tmp_path)
    trainer = build_trainer(TrainingConfig(**CPU), tmp_path, callbacks=[monitor], loggers=[logger])
    assert callbacks_of(trainer) == [monitor]
    assert trainer.loggers == [logger]


@pytest.mark.parametrize(("steps", "stops"), [(4, False), (5, True)])
def test_a_run_stops_when_its_clock_is_over(steps: int, stops: bool) -> None:
    clock = RunClock(5)
    clock.steps = steps
    trainer: Any = SimpleNamespace(should_stop=False, check_val_every_n_epoch=9)
    StopAtTheEnd(clock).on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    assert trainer.should_stop == stops
    assert trainer.check_val_every_n_epoch == (1 if stops else 9)  # the last epoch is always validated


def test_the_learning_rate_is_that_of_the_step_not_of_the_next_one() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    noted = StepLearningRate()
    noted.on_train_batch_start(SimpleNamespace(optimizers=[optimizer]), None, None, 0)  # type: ignore[arg-type]
    optimizer.param_groups[0]["lr"] = 0.25
    assert noted.learning_rate == 0.5


@pytest.mark.parametrize("weight_decay_on", ["all", "weights"])
def test_the_learning_rate_beside_muon_is_that_of_the_setting_of_this_name(weight_decay_on: str) -> None:
    config = OptimizationConfig(optimizer="muon", muon_learning_rate=0.12, weight_decay_on=weight_decay_on)
    optimizer = build_optimizer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), config, 0.4)
    noted = StepLearningRate()
    noted.on_train_batch_start(SimpleNamespace(optimizers=[optimizer]), None, None, 0)  # type: ignore[arg-type]
    assert noted.learning_rate == 0.4
