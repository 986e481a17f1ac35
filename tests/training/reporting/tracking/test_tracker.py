"""Training never waits for a tracker: calls in order in another thread, one warning, a bounded end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from cifar100.runs.folder import RunFolder
from cifar100.training.reporting.loggers import conclude, without_failures
from cifar100.training.reporting.tracking import tracker
from cifar100.training.reporting.tracking.tracker import Ending, Tracker, remember_tracked_run, tracked_run


class Recorded:
    """A service that notes its calls, after doing something at the first value."""

    def __init__(self, at_a_value: Callable[[], None] = lambda: None) -> None:
        self.calls: list[object] = []
        self.threads: set[str] = set()
        self.at_a_value = at_a_value

    def load(self) -> None:
        self.calls.append("load")

    def open(self, facts: Mapping[str, str]) -> None:
        self.threads.add(threading.current_thread().name)
        self.calls.append(("open", dict(facts)))

    def log_settings(self, settings: Mapping[str, object]) -> None:
        self.calls.append(("settings", settings))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.at_a_value()
        self.calls.append((step, metrics))

    def log_figures(self, figures: Mapping[str, float]) -> None:
        self.calls.append(("figures", figures))

    def log_files(self, files: Sequence[Path]) -> None:
        self.calls.append(("files", files))

    def close(self, ending: Ending) -> str:
        self.calls.append(ending)
        return "upload it"


def opened(service: Recorded, folder: Path) -> Tracker:
    made = Tracker("Service", service, lambda: {"git_commit": "abc"})
    assert without_failures([made], RunFolder(folder)) == [made]
    return made


def test_calls_reach_the_service_in_their_order_in_another_thread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Recorded()
    logger = opened(service, tmp_path)
    logger.log_settings({"seed": 1})
    values = {"loss": 1.0}
    logger.log_metrics(values, step=0)
    values["loss"] = 2.0  # the caller may use its dictionary again
    logger.log_metrics(values, step=20)
    logger.finalize("success")  # Lightning's, before the figures are known
    conclude([logger], "finished", figures={"best": 0.5}, files=lambda: [Path("report.html")])
    assert service.calls == [
        "load",
        ("open", {"git_commit": "abc"}),
        ("settings", {"seed": 1}),
        (0, {"loss": 1.0}),
        (20, {"loss": 2.0}),
        ("figures", {"best": 0.5}),
        ("files", [Path("report.html")]),
        "finished",
    ]
    assert service.threads == {"Service"}
    assert capsys.readouterr().err == "cifar100: upload it\n"


def test_a_service_that_hangs_blocks_neither_the_training_nor_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "SECONDS_AT_THE_END", 0.2)
    answer = threading.Event()
    logger = opened(Recorded(at_a_value=lambda: answer.wait() and None), tmp_path)
    started = time.monotonic()
    for step in range(1000):
        logger.log_metrics({"loss": 1.0}, step=step)
    conclude([logger], "finished", figures={"best": 0.5})
    assert time.monotonic() - started < 5
    assert capsys.readouterr().err == (
        "cifar100: Service failed (no answer for 0 s, so its records are incomplete); the run continues without it.\n"
    )
    answer.set()


def test_a_service_that_fails_is_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ConnectionError("quota exceeded")

    service = Recorded(at_a_value=fail)
    logger = opened(service, tmp_path)
    for step in range(5):
        logger.log_metrics({"loss": 1.0}, step=step)
    conclude([logger], "finished", figures={"best": 0.5})
    assert capsys.readouterr().err == "cifar100: Service failed (quota exceeded); the run continues without it.\n"
    assert service.calls[2:] == []


def test_a_service_that_does_not_keep_up_is_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "MAX_WAITING", 3)
    answer = threading.Event()
    logger = opened(Recorded(at_a_value=lambda: answer.wait() and None), tmp_path)
    for step in range(20):
        logger.log_metrics({"loss": 1.0}, step=step)
    assert "Service failed (3 records wait for an answer); the run continues" in capsys.readouterr().err
    answer.set()


def test_only_rank_0_talks_to_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker.rank_zero_only, "rank", 1)
    service = Recorded()
    logger = opened(service, tmp_path)
    logger.log_settings({"seed": 1})
    logger.log_metrics({"loss": 1.0}, step=0)
    conclude([logger], "finished")
    assert service.calls == []


def test_the_identity_of_a_run_is_remembered(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert tracked_run(run, "wandb") is None
    remember_tracked_run(run, "wandb", "one")
    remember_tracked_run(run, "mlflow", "two")
    assert (tracked_run(run, "wandb"), tracked_run(run, "mlflow")) == ("one", "two")
    run.trackers.write_text("[")
    assert tracked_run(run, "wandb") is None
