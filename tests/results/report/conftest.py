"""A run that was trained and measured for the reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import small_config

from cifar100 import commands
from cifar100.runs.folder import RunFolder


@pytest.fixture(scope="session")
def trained_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two epochs on a tiny Shapes-100, calibrated and measured on the test images; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    changes = {"training.max_epochs": 2, "data.validation_fraction": 0.2, "data.batch_size": 120}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = commands.train(small_config(tiny_data, **changes), experiment="trained")
        commands.evaluate("trained", calibrate=True)
    return RunFolder(folder / run.path)
