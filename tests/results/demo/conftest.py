"""A run to try, with examples, mistakes and a temperature."""

from __future__ import annotations

from pathlib import Path

import pytest
from exportable_runs import write_exportable

from cifar100 import commands
from cifar100.runs.folder import RunFolder


@pytest.fixture(scope="session")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was measured and calibrated; not to be changed."""
    found = write_exportable(tmp_path_factory.mktemp("runs") / "tiny", tiny_data)
    commands.evaluate(found, calibrate=True)
    return found
