"""The record of an epoch."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cifar100.runs.history import History
from cifar100.training.optimization.clock import RunClock
from cifar100.training.reporting.epoch_recorder import EpochRecorder, epoch_number
from cifar100.training.reporting.run_log import RunLog


def trainer(rate: float, *, epoch: int = 0, **more: Any) -> Any:
    optimizer = SimpleNamespace(param_groups=[{"lr": rate}])
    given = {"current_epoch": epoch, "max_epochs": 4, "world_size": 2, "is_global_zero": True, "callbacks": []}
    metrics = {
        "val/accuracy": torch.tensor(0.5),
        "val/loss": torch.tensor(2.0),
        "val/top5_accuracy": torch.tensor(0.75),
    }
    return SimpleNamespace(optimizers=[optimizer], callback_metrics=metrics, val_dataloaders=[1], **given, **more)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[EpochRecorder]:
    log = RunLog(tmp_path / "training.log", enabled=True)
    metrics = {"train/loss": 1.5, "train/accuracy": 0.25}
    yield EpochRecorder(History(tmp_path / "metrics.json", {}), log, RunClock(8), train_metrics=lambda: metrics)
    log.close()


def test_an_epoch_has_the_rate_of_its_last_step_and_all_images(recorder: EpochRecorder, tmp_path: Path) -> None:
    module: Any = None
    recorder.on_train_epoch_start(trainer(0.1), module)
    for rate in (0.1, 0.2):
        running = trainer(rate)
        recorder.on_train_batch_start(running, module, None, 0)
        running.optimizers[0].param_groups[0]["lr"] = 9.0  # the schedule has moved on
        recorder.on_train_batch_end(running, module, None, (torch.zeros(16),), 0)
    recorder.on_validation_end(trainer(9.0), module)
    recorder.on_train_epoch_end(trainer(9.0), module)
    (epoch,) = recorder.history.epochs
    assert (epoch["epoch"], epoch["learning_rate"], epoch["train/loss"]) == (1, 0.2, 1.5)
    assert (epoch["val/accuracy"], epoch["val/top5_accuracy"]) == (0.5, 0.75)
    assert recorder.images == 64  # two steps, two processes
    assert "epoch 1/4, loss 1.5000" in (tmp_path / "training.log").read_text()


def test_metrics_of_an_earlier_validation_are_left_out(recorder: EpochRecorder) -> None:
    module: Any = None
    recorder.on_train_epoch_start(trainer(0.1), module)
    recorder.on_train_batch_end(trainer(0.1), module, None, (torch.zeros(16),), 0)
    recorder.on_train_epoch_end(trainer(0.1), module)
    assert "val/accuracy" not in recorder.history.epochs[0]


def test_the_time_between_stop_and_resumption_does_not_count(recorder: EpochRecorder) -> None:
    module: Any = None
    recorder.on_train_epoch_start(trainer(0.1), module)
    recorder.on_train_batch_end(trainer(0.1), module, None, (torch.zeros(16),), 0)
    state = {**recorder.state_dict(), "seconds": 50.0, "training": 40.0}
    recorder.load_state_dict(state)
    assert recorder.state_dict()["images"] == 32
    assert time.perf_counter() - recorder.epoch_started == pytest.approx(50, abs=1)
    assert recorder.batches_ended - recorder.epoch_started == pytest.approx(40)


def test_the_number_of_an_epoch() -> None:
    assert epoch_number(trainer(0.1, epoch=2)) == "3/4"
    endless = trainer(0.1, epoch=2)
    endless.max_epochs = -1
    assert epoch_number(endless) == "3"


def test_the_screen_leaves_out_short_epochs_and_the_files_none(
    recorder: EpochRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = None
    now = 0.0
    screen = recorder.run_log.console.file = io.StringIO()
    clock = SimpleNamespace(perf_counter=lambda: now)
    monkeypatch.setattr("cifar100.training.reporting.epoch_recorder.time", clock)
    recorder.clock = RunClock(100)
    for epoch in range(100):
        running = trainer(0.1, epoch=epoch)
        recorder.on_train_epoch_start(running, module)
        now += 0.5
        recorder.on_train_batch_end(running, module, None, (torch.zeros(16),), 0)
        recorder.clock.steps += 1
        recorder.on_train_epoch_end(running, module)
        if epoch == 60:
            recorder.on_exception(running, module, KeyboardInterrupt())
    recorder.on_train_end(running, module)
    rows = [int(number) for number in re.findall(r"^ *(\d+)/4 ", screen.getvalue(), re.MULTILINE)]
    assert rows == sorted([1, *range(2, 101, 2), 61])
    assert len(recorder.history.epochs) == (tmp_path / "training.log").read_text().count("  epoch ") == 100
