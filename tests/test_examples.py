"""Every script in examples/ runs as it is, on small data, and is short."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

MAX_LINES = 40

SAYS = {
    "callback.py": "epoch 3: norm of the weights ",
    "data_module.py": "best validation accuracy      100.00%",
    "loss.py": "poly_loss: ",
    "network.py": "90,276 parameters",
    "sweep.py": "best trial against the recipe: ",
}
"""What each example prints."""

IN_A_PROCESS = ("callback.py", "sweep.py")
"""Run by a new Python: the first imports torch before cifar100, and the trials of the second import the script. The
others would only load torch again."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(
    example: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if example.name == "sweep.py":
        pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
    monkeypatch.chdir(tmp_path)
    if example.name in IN_A_PROCESS:
        command = [sys.executable, str(example), str(tiny_data)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert finished.returncode == 0, finished.stderr
        shown = finished.stdout
    else:
        monkeypatch.setattr(sys, "argv", [str(example), str(tiny_data)])
        runpy.run_path(str(example), run_name="__main__")
        shown = capsys.readouterr().out
    assert SAYS[example.name] in shown
    status = json.loads(Path("logs/experiment1/status.json").read_text())
    assert status["status"] == "finished"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < MAX_LINES
