"""The loggers that settings name."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from cifar100.config import TrainingConfig
from cifar100.config.declarations import Component, Setting
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.training.reporting import loggers
from cifar100.training.reporting.loggers import build_loggers


def test_names_become_loggers_in_the_run_folder(tmp_path: Path) -> None:
    first, second = build_loggers(TrainingConfig(loggers=("csv", "tensorboard")), RunFolder(tmp_path), first_step=None)
    assert isinstance(first, CSVLogger)
    assert isinstance(second, TensorBoardLogger)
    assert Path(first.log_dir) == tmp_path / "csv_logs" / "version_0"
    assert Path(second.log_dir) == tmp_path / "lightning_logs"
    assert build_loggers(TrainingConfig(loggers=()), RunFolder(tmp_path), first_step=None) == []


def test_an_unknown_logger_is_refused() -> None:
    with pytest.raises(UserError, match=r"--training.loggers is \['paper'\], but it must be a list of tensorboard"):
        TrainingConfig(loggers=("paper",))


def test_a_logger_takes_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, object] = {}

    def build(run: RunFolder, first_step: int | None, **own: object) -> str:
        received.update(own)
        return "logger"

    declared = Component("csv", "", "", "", (Setting("loggers", str, "", ""),))  # any setting of the section
    monkeypatch.setattr(Component, "load", lambda self: build)
    monkeypatch.setattr(loggers, "components", lambda path, marker: {"csv": declared})
    assert build_loggers(TrainingConfig(loggers=("csv",)), RunFolder(tmp_path), first_step=None) == ["logger"]
    assert received == {"loggers": ("csv",)}
