"""The callbacks of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Timer

from cifar100.data.folder.layout import DataFolder
from cifar100.process.stopping import StopSignal
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
from cifar100.settings import load_config
from cifar100.training.callbacks import build_callbacks
from cifar100.training.experiment import assemble, make_split
from cifar100.training.optimization.ema import WeightAveraging
from cifar100.training.reporting.pictures import FirstBatch
from cifar100.training.reporting.run_log import RunLog

LOGGED = ("LearningRateMonitor", "StepLosses")
LAST = ("FirstBatch", "StateSaver")


@pytest.mark.parametrize(
    ("overrides", "has_loggers", "expected"),
    [
        ({}, True, ["StopAtTheEnd", "EpochRecorder", "EpochProgress", *LOGGED, "Timer", *LAST]),
        ({}, False, ["StopAtTheEnd", "EpochRecorder", "EpochProgress", "Timer", *LAST]),
        (
            {"optimization.ema_decay": 0.9, "optimization.ema_start": 0.5},
            False,
            ["StopAtTheEnd", "WeightAveraging", "EpochRecorder", "EpochProgress", "Timer", *LAST],
        ),
    ],
)
def test_the_average_comes_before_what_records_it_and_saving_last(
    overrides: dict[str, Any], has_loggers: bool, expected: list[str], tiny_data: Path, tmp_path: Path
) -> None:
    config = load_config("quickstart", overrides={"data.root": tiny_data, **overrides})
    experiment = assemble(config, DataFolder(tiny_data).info(), make_split(config))
    run_log = RunLog(tmp_path / "training.log", enabled=False)
    history, run = History(tmp_path / "metrics.json", {}), RunFolder(tmp_path)
    callbacks = build_callbacks(
        run,
        experiment,
        history,
        run_log,
        StopSignal(),
        [Timer()],
        first_batch=FirstBatch(enabled=True),
        has_loggers=has_loggers,
    )
    assert [type(callback).__name__ for callback in callbacks] == expected
    for callback in callbacks:
        if isinstance(callback, WeightAveraging):
            assert (callback.decay, callback.final_decay, callback.start) == (0.9, 0.9, 0.5)
            assert callback.averaged.network is experiment.module.network
