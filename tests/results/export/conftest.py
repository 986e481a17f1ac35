"""One ONNX export for many tests: it takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from exportable_runs import write_exportable

from cifar100 import commands
from cifar100.results.export import check
from cifar100.results.export.result import Export
from cifar100.runs.folder import RunFolder


@pytest.fixture(scope="session", autouse=True)
def short_timings() -> Iterator[None]:
    """Measure times for a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "SECONDS", 0.0)
        yield


@pytest.fixture(scope="session")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that is ready for export; its folder is not to be changed."""
    return write_exportable(tmp_path_factory.mktemp("runs") / "tiny", tiny_data)


@pytest.fixture(scope="session")
def exported(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The run as ONNX."""
    return commands.export(run, output=tmp_path_factory.mktemp("exports") / "tiny.onnx")
