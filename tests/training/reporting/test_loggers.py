"""The loggers that settings name."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from small_runs import SMALL_BATCHES, small_config, stop_at
from torch import Tensor, nn
from wandb_files import logged

from cifar100 import train
from cifar100.config import TrainingConfig
from cifar100.config.declarations import Component, Setting
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config
from cifar100.training.reporting import loggers
from cifar100.training.reporting.loggers import build_loggers, log_graph, without_failures
from cifar100.training.reporting.tracking import tracker


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
        "cifar100: Dying failed (no answer from the server); the run continues without it.\n"
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
    assert "TensorBoardLogger failed (" in capsys.readouterr().err


def test_a_network_that_cannot_be_traced_has_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise NotImplementedError("odd")

    (logger,) = build_loggers(TrainingConfig(loggers=("tensorboard",)), RunFolder(tmp_path), first_step=None)
    log_graph([logger], Odd(), (3, 32, 32))
    assert "the graph of the network was not written to TensorBoard (" in capsys.readouterr().err
    logger.finalize("success")


def test_the_graph_leaves_the_mode_of_every_layer_as_it_was(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.BatchNorm1d(8))
    network[2].eval()  # frozen
    (logger,) = build_loggers(TrainingConfig(loggers=("tensorboard",)), RunFolder(tmp_path), first_step=None)
    log_graph([logger], network, (3, 4, 4))
    assert [layer.training for layer in network] == [True, True, False]
    logger.finalize("success")


@pytest.mark.parametrize(("logger", "module"), [("wandb", "wandb"), ("mlflow", "mlflow"), ("mlflow", "sqlalchemy")])
def test_a_logger_without_its_extra_is_refused_before_there_is_a_run(
    logger: str, module: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loggers, "find_spec", lambda name: None if name == module else object())
    expected = (
        f"--training.loggers names {logger}, but the package {module} is not installed; install it: pip install "
        rf'"cifar100\[{logger}\]", or leave out this logger.'
    )
    with pytest.raises(UserError, match=expected):
        train(small_config(tiny_data, **{"training.loggers": ["csv", logger]}))
    assert not Path("logs").exists()


def test_a_setting_of_a_logger_that_is_not_chosen_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.wandb_project"):
        load_config("quickstart", overrides={"training.wandb_project": "mine"})
    chosen = load_config("quickstart", overrides={"training.loggers": ["wandb"]}).training
    assert (chosen.wandb_project, chosen.mlflow_experiment) == ("cifar100", None)


def test_a_resumed_run_continues_in_the_trackers_which_get_everything(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb
    from mlflow import MlflowClient

    wandb.teardown()  # it reads the environment once
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(tracker, "SECONDS_AFTER_A_STOP", 120.0)  # MLflow makes its tables, on a machine with other work
    monkeypatch.setattr(tracker, "SECONDS_AT_THE_END", 120.0)
    config = small_config(tiny_data, **SMALL_BATCHES, **{"training.loggers": ["wandb", "mlflow"]})
    run = stop_at(25, config, name="mine")
    (stopped,) = (run.path / "wandb").glob("offline-run-*")
    assert logged(stopped)["config"]["model.name"] == "fast_net"
    train(resume="mine")
    wandb.teardown()
    err = capsys.readouterr().err
    assert err.count("to upload it: wandb login") == 2  # of each part
    assert "failed" not in err

    parts = [logged(folder) for folder in sorted((run.path / "wandb").glob("offline-run-*"))]
    assert len({part["id"] for part in parts}) == 1
    accuracies: list[dict[str, Any]] = [row for part in parts for row in part["history"] if "val/accuracy" in row]
    assert len(accuracies) == 3
    assert parts[0]["config"]["facts"]["git_commit"] == commit
    assert 0 <= parts[-1]["summary"]["best/val/accuracy"] <= 1
    (files,) = parts[-1]["artifacts"].values()
    assert files == ["config.yaml", "learning_curves.png", "metrics.csv", "report.html"]

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("cifar100")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.source.git.commit"] == commit
    assert found.data.params["model.widths"] == "(8, 8, 8)"
    assert len(client.get_metric_history(found.info.run_id, "val/accuracy")) == 3
    assert found.data.metrics["best/val/accuracy"] == parts[-1]["summary"]["best/val/accuracy"]
    artifacts = {artifact.path for artifact in client.list_artifacts(found.info.run_id)}
    assert artifacts == {"config.yaml", "learning_curves.png", "metrics.csv", "report.html"}
    (report,) = (tmp_path / "mlartifacts").rglob("report.html")
    assert '<span class="pill finished">finished</span>' in report.read_text()
