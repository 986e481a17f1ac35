"""A Hub on this machine, with a token in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from exportable_runs import write_exportable
from hub_stub import HubStub, hub_stub

from cifar100 import commands
from cifar100.results.export import check
from cifar100.runs.folder import RunFolder


@pytest.fixture(scope="session")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was measured and calibrated; not to be changed."""
    found = write_exportable(tmp_path_factory.mktemp("runs") / "tiny", tiny_data)
    commands.evaluate(found, calibrate=True)
    return found


@pytest.fixture(scope="session", autouse=True)
def short_timings() -> Iterator[None]:
    """Measure times for a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "SECONDS", 0.0)
        yield


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """An empty Hub to which the client is logged in; its cache is empty."""
    from huggingface_hub import constants

    with hub_stub() as server:
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setattr(constants, "ENDPOINT", server.address)  # the client reads its environment once
        files = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield server
