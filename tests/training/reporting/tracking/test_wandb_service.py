"""W&B: offline without a login, read back from its folder; never a question, never an end of the training."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb_files import logged

from cifar100.runs.folder import RunFolder
from cifar100.training.reporting.tracking import wandb_service
from cifar100.training.reporting.tracking.wandb_service import WandbService


@pytest.fixture(autouse=True)
def without_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let W&B read the environment of this test, and end its process afterwards."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    wandb.teardown()
    yield
    wandb.teardown()


def make_run(path: Path) -> RunFolder:
    path.mkdir()
    return RunFolder(path)


def offline_folders(run: RunFolder) -> list[Path]:
    return sorted((run.path / "wandb").glob("offline-run-*"))


def test_a_run_without_a_login_is_kept_offline_and_continued_under_its_identity(tmp_path: Path) -> None:
    run = make_run(tmp_path / "mine")
    report = tmp_path / "report.html"
    report.write_text("the report")
    found: list[dict[str, Any]] = []
    for steps in ((0, 20), (20, 40)):  # the second part repeats a step, as a resumed run may
        service = WandbService(run, project="pictures")
        service.load()
        service.open({"git_commit": "abc"})
        service.log_settings({"training.seed": 3})
        for step in steps:
            service.log_metrics({"train/loss": 1.0 / (1 + step)}, step)
        service.log_figures({"best/val/accuracy": 0.5})
        service.log_files([report])
        line = service.close("finished")
        folder = offline_folders(run)[-1]
        assert line == f"W&B has logged this run offline; to upload it: wandb login && wandb sync {folder}"
        found.append(logged(folder))
    first, second = found
    assert (first["name"], first["project"]) == ("mine", "pictures")
    assert first["id"] == second["id"]
    assert first["config"]["training.seed"] == 3
    assert first["config"]["facts"] == {"git_commit": "abc"}
    assert [(row["step"], row["train/loss"]) for row in first["history"]] == [(0, 1.0), (20, 1 / 21)]
    assert [row["step"] for row in second["history"]] == [20, 40]
    assert first["summary"]["best/val/accuracy"] == 0.5
    assert list(first["artifacts"].values()) == [["report.html"]]


@pytest.mark.parametrize("is_listening", [True, False])
def test_a_server_that_hangs_or_is_gone_leaves_an_offline_run(
    is_listening: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not is_listening:
            server.close()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr(wandb_service, "SECONDS_TO_CONNECT", 1.0)
        run = make_run(tmp_path / "mine")
        service = WandbService(run, project="pictures")
        service.load()
        service.open({})
        service.log_metrics({"train/loss": 1.0}, 0)
        service.close("finished")
    assert capsys.readouterr().err.count("W&B cannot be reached (") == 1
    assert logged(offline_folders(run)[0])["history"][0]["train/loss"] == 1.0


def test_a_refused_login_leaves_an_offline_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(401)

        do_POST = do_GET = do_HEAD  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    run = make_run(tmp_path / "mine")
    service = WandbService(run, project="pictures")
    service.load()
    service.open({})
    service.log_metrics({"train/loss": 1.0}, 0)
    service.close("finished")
    server.shutdown()
    server.server_close()
    assert capsys.readouterr().err.count("W&B cannot be reached (") == 1
    found = [logged(folder) for folder in offline_folders(run)]
    assert [row["train/loss"] for part in found for row in part["history"]] == [1.0]
