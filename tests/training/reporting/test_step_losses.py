"""The losses of single steps."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from small_runs import SMALL_BATCHES, small_config, stop_at

from cifar100 import commands
from cifar100.training.reporting import step_losses
from cifar100.training.reporting.step_losses import StepLosses


class SlowTransfer:
    """A loss that is on its way until `arrived` is set; asking for its value before that waits for the device."""

    arrived: bool
    waits: list[int]

    def __init__(self, loss: torch.Tensor, *, step: int) -> None:
        self.loss = loss
        self.step = step

    def has_arrived(self) -> bool:
        return type(self).arrived

    def value(self) -> float:
        if not type(self).arrived:
            type(self).waits.append(self.step)
        return float(self.loss)


class Recorder:
    def __init__(self) -> None:
        self.logged: list[tuple[int, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics["train/loss_step"]))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> type[SlowTransfer]:
    SlowTransfer.arrived, SlowTransfer.waits = False, []
    monkeypatch.setattr(step_losses, "start_transfer", SlowTransfer)
    return SlowTransfer


def train_steps(callback: StepLosses, trainer: Any, first: int, last: int) -> None:
    for step in range(first, last + 1):
        trainer.global_step = step
        module: Any = SimpleNamespace(step_loss=torch.tensor(float(step)))
        callback.on_train_batch_end(trainer, module, None, None, 0)


def test_no_step_waits_for_a_loss_that_has_not_arrived(slow: type[SlowTransfer]) -> None:
    callback, logger = StepLosses(), Recorder()
    trainer: Any = SimpleNamespace(loggers=[logger], is_global_zero=True, global_step=0, callbacks=[callback])
    train_steps(callback, trainer, 1, 45)
    assert (logger.logged, slow.waits) == ([], [])
    slow.arrived = True
    train_steps(callback, trainer, 46, 46)
    assert logger.logged == [(19, 20.0), (39, 40.0)]  # under their own steps, counted from 0
    slow.arrived = False
    train_steps(callback, trainer, 47, 60)
    step_losses.complete_step_losses(trainer)  # a state is saved
    assert logger.logged[2:] == [(59, 60.0)]
    assert slow.waits == [59]
    callback.on_train_end(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert len(logger.logged) == 3


def test_other_ranks_log_nothing() -> None:
    callback, logger = StepLosses(), Recorder()
    train_steps(callback, SimpleNamespace(loggers=[logger], is_global_zero=False, global_step=0), 1, 40)
    assert logger.logged == []


@pytest.mark.gpu
def test_cuda_is_not_waited_for_between_saves() -> None:
    callback, logger = StepLosses(), Recorder()
    trainer: Any = SimpleNamespace(loggers=[logger], is_global_zero=True, global_step=0, callbacks=[callback])
    losses = torch.arange(61, device="cuda").float()
    work = torch.randn(4096, 4096, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 61):
            work = work @ work
            trainer.global_step = step
            callback.on_train_batch_end(trainer, SimpleNamespace(step_loss=losses[step]), None, None, 0)  # type: ignore[arg-type]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    callback.complete(trainer)
    assert logger.logged == [(19, 20.0), (39, 40.0), (59, 60.0)]


class Losses(Callback):
    """Keeps the loss of every step, as Lightning returns it."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))


def logged(folder: Path) -> list[tuple[int, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            (int(row["step"]), float(row["train/loss_step"]))
            for row in csv.DictReader(file)
            if row.get("train/loss_step")
        ]


def test_custom_loggers_get_the_loss_of_every_twentieth_step(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    losses = Losses()
    logger = CSVLogger(tmp_path, name="mine")
    commands.train(small_config(tiny_data, **SMALL_BATCHES), loggers=[logger], callbacks=[losses])
    assert len(losses.losses) == 45
    assert logged(Path(logger.log_dir)) == [(step, pytest.approx(losses.losses[step])) for step in (19, 39)]


def test_a_stopped_run_has_logged_every_loss_up_to_its_last_step(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = stop_at(20, small_config(tiny_data, **SMALL_BATCHES, **{"training.loggers": "csv"}), name="stopped")
    assert [step for step, _ in logged(run.path / "csv_logs" / "version_0")] == [19]


def test_with_sam_the_loss_is_that_at_the_unperturbed_weights(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small_config(
        tiny_data,
        **{
            "optimization.sam": "sam",
            "optimization.sam_rho": 1.0,
            "training.max_epochs": 2,
            "training.loggers": "csv",
        },
    )
    losses = Losses()
    run = commands.train(config, callbacks=[losses])
    ((_, loss),) = logged(run.path / "csv_logs" / "version_0")
    assert loss < losses.losses[19]  # the loss that SAM minimizes is the higher one nearby
