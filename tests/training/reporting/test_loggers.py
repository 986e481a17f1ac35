"""The loggers that settings name."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn

from cifar100.config import TrainingConfig
from cifar100.config.declarations import Component, Setting
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.training.reporting import loggers
from cifar100.training.reporting.loggers import build_loggers, log_graph, without_failures


def test_names_become_loggers_in_the_run_folder(tmp_path: Path) -> None:
    first, second = build_loggers(TrainingConfig(loggers=("csv", "tensorboard")), RunFolder(tmp_path), first_step=None)
    assert isinstance(first, CSVLogger)
    assert isinstance(second, TensorBoardLogger)
    assert Path(first.log_dir) == tmp_path / "csv_logs" / "version_0"
    assert Path(second.log_dir) == tmp_path / "lightning_logs"
    assert build_loggers(TrainingConfig(loggers=()), RunFolder(tmp_path), first_step=None) == []


def test_an_unknown_logger_is_refused() -> None:
    with pytest.raises(UserError, match=r"--training.loggers is \[paper\], but it must be a list of tensorboard"):
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


class Dying(Logger):
    """A logger whose server is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    name = "dying"
    version = 0

    def log_metrics(self, metrics: object, step: int | None = None) -> None:
        self.calls.append("log_metrics")
        raise ConnectionError("no answer\nfrom the server")

    def log_hyperparams(self, *_: object, **__: object) -> None:
        self.calls.append("log_hyperparams")

    def finalize(self, status: str) -> None:
        self.calls.append("finalize")


def test_a_dead_logger_ends_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = Dying()
    assert without_failures([logger], RunFolder(tmp_path)) == [logger]
    logger.log_hyperparams({})
    for _ in range(3):
        logger.log_metrics({"a": 1.0}, step=1)
    logger.finalize("success")
    assert logger.calls == ["log_hyperparams", "log_metrics"]
    assert capsys.readouterr().err == (
        "cifar100: Dying has failed (no answer from the server); the run continues without it.\n"
    )


def test_a_logger_says_nothing_if_the_run_folder_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = Dying()
    without_failures([logger], RunFolder(tmp_path / "gone"))
    logger.log_metrics({}, step=1)
    assert capsys.readouterr().err == ""


def test_a_logger_that_cannot_be_opened_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lightning_logs").write_text("a file where the folder should be")
    loggers = build_loggers(TrainingConfig(loggers=("tensorboard",)), RunFolder(tmp_path), first_step=None)
    assert without_failures(loggers, RunFolder(tmp_path)) == []
    assert "TensorBoardLogger has failed (" in capsys.readouterr().err


def test_a_network_that_cannot_be_traced_has_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise NotImplementedError("odd")

    (logger,) = build_loggers(TrainingConfig(loggers=("tensorboard",)), RunFolder(tmp_path), first_step=None)
    log_graph([logger], Odd(), (3, 32, 32))
    assert "TensorBoard gets no graph of the network (" in capsys.readouterr().err
    logger.finalize("success")


def test_the_graph_leaves_the_mode_of_every_layer_as_it_was(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.BatchNorm1d(8))
    network[2].eval()  # frozen
    (logger,) = build_loggers(TrainingConfig(loggers=("tensorboard",)), RunFolder(tmp_path), first_step=None)
    log_graph([logger], network, (3, 4, 4))
    assert [layer.training for layer in network] == [True, True, False]
    logger.finalize("success")
