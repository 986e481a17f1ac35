"""A training in a process of its own: its loggers get what those of `train` get."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import small_config, stop_at

from cifar100.devices import resolve
from cifar100.runs.folder import RunFolder
from cifar100.search.process import train_in_a_process


@pytest.mark.parametrize("is_interrupted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_its_trackers_get_the_report_and_the_final_figures(
    is_interrupted: bool, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_of = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed").MlflowClient
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = small_config(
        tiny_data,
        **{"training.max_epochs": 1, "training.loggers": ["mlflow"], "data.num_folds": 2, "data.fold": 1},
    )
    run = RunFolder(Path("logs/trials/mine/fold1"))
    if is_interrupted:
        stopped = stop_at(3, config, name="fold1")
        run.path.parent.mkdir(parents=True)
        stopped.path.rename(run.path)
    assert train_in_a_process(resolve(config), run) is run
    client = client_of(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = [each for each in client.search_experiments() if each.name == "cifar100"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == ("fold1" if is_interrupted else "trials/mine/fold1")
    assert found.data.params["data.fold"] == "1"
    assert 0 <= found.data.metrics["best/val/accuracy"] <= 1
    artifacts = {artifact.path for artifact in client.list_artifacts(found.info.run_id)}
    assert artifacts == {"config.yaml", "learning_curves.png", "metrics.csv", "report.html"}
