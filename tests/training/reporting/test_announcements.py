"""What a run says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
from cifar100.training.reporting.announcements import announce_result
from cifar100.training.reporting.run_log import RunLog


def test_the_result_has_aligned_values_and_no_spaces_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    epoch = {"epoch": 1.0, "train/accuracy": 0.5, "val/accuracy": 0.25, "val/top5_accuracy": 0.75}
    run = RunFolder(tmp_path)
    log = RunLog(tmp_path / "train.log", enabled=True)
    history = History(run.metrics, {})
    history.epochs = [epoch]
    announce_result(run, history, log, seconds=61, pictures=["learning_curves.png"])
    log.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:6] == [
        "best validation accuracy      25.00%, epoch 1",
        "its top-5 accuracy            75.00%",
        "training accuracy at the end  50.00%",
        "time                          0:01:01",
        f"checkpoints                   {run.checkpoints}",
    ]
    assert [line for line in lines if line != line.rstrip()] == []
