"""MLflow against its own local store, read back with its client; and servers that are gone."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cifar100.runs.folder import RunFolder
from cifar100.training.reporting.tracking.mlflow_service import MLflowService


def make_run(path: Path) -> RunFolder:
    path.mkdir()
    return RunFolder(path)


def test_a_run_is_read_back_with_the_client_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = make_run(tmp_path / "mine")
    report = tmp_path / "report.html"
    report.write_text("the report")
    first = MLflowService(run, uri=None, experiment="pictures")
    first.load()
    first.open({"git_commit": "abc", "version.torch": "2"})
    first.log_settings({f"section.setting{number}": number for number in range(150)})
    first.log_metrics({"train/loss": 1.0, "lr": 0.1}, 0)
    first.log_metrics({"train/loss": 0.5}, 20)
    assert first.close("stopped") == ""
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("pictures")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("mine", "KILLED")
    second = MLflowService(run, uri=None, experiment="pictures")
    second.open({})
    second.log_settings({"section.setting0": "another value"})  # which MLflow would refuse
    second.log_metrics({"train/loss": 0.25}, 40)
    second.log_figures({"best/val/accuracy": 0.75})
    second.log_files([report])
    second.close("finished")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert len(found.data.params) == 150
    assert found.data.params["section.setting0"] == "0"
    assert found.data.tags["mlflow.source.git.commit"] == "abc"
    assert found.data.tags["version.torch"] == "2"
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 1.0), (20, 0.5), (40, 0.25)]
    assert found.data.metrics["best/val/accuracy"] == 0.75
    assert [artifact.path for artifact in client.list_artifacts(found.info.run_id)] == ["report.html"]
    assert list((tmp_path / "mlartifacts").rglob("report.html"))


def test_a_server_that_is_gone_raises_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    service = MLflowService(make_run(tmp_path / "mine"), uri=f"http://127.0.0.1:{port}", experiment="pictures")
    service.load()
    started = time.monotonic()
    with pytest.raises(Exception, match="Max retries exceeded"):
        service.open({})
    assert time.monotonic() - started < 60
