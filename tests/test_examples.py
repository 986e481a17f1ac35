"""Every script in examples/ runs as it is, on small data, and is short."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example: Path, tiny_data: Path, tmp_path: Path) -> None:
    if example.name == "sweep.py":
        pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
    finished = subprocess.run(
        [sys.executable, str(example), str(tiny_data)],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert finished.returncode == 0, finished.stderr
    assert SAYS[example.name] in finished.stdout
    status = json.loads((tmp_path / "logs" / "experiment1" / "status.json").read_text())
    assert status["status"] == "finished"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < MAX_LINES
