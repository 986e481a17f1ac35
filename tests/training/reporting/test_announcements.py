"""What a run says before and after."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import small_config

from cifar100 import commands


def test_a_run_says_what_it_trains_and_what_came_of_it(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = commands.train(small_config(tiny_data, **{"training.max_epochs": 1}), experiment="mine")
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("recipe quickstart", "network fast_net", "images 500 for training, 100 for validation"):
        assert words in shown
    assert "cifar100 evaluate mine" in shown
    assert "cifar100 report mine" in shown
    assert "pictures learning_curves.png, train_batch.png" in shown
    log = run.training_log.read_text()
    assert "optimization: loss cross_entropy" in log
    assert "versions: " in log
    assert "best validation accuracy" in log
