"""SLURM: which process requeues a job, and which run a command of a requeued job resumes."""

# ruff: noqa: PT012  # what happens inside of the block is what is tested
from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import SMALL_BATCHES, AtStep, assert_same_run, epochs, send, small_config

from cifar100 import commands
from cifar100.config import Config
from cifar100.errors import Stopped, UserError
from cifar100.runs.folder import RunFolder, run_folders
from cifar100.runs.status import occupied, read_status
from cifar100.settings import load_config
from cifar100.training.recovery.requeueing import (
    Request,
    remember_request,
    requeue,
    requeued_run,
    slurm_request,
    stops_explained,
)

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="SLURM runs on POSIX")

A, B = load_config("quickstart"), load_config("quickstart", overrides={"training.seed": 7})


@pytest.fixture(autouse=True)
def no_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_")) or name == "LOCAL_RANK"]:
        monkeypatch.delenv(name)


def small_run(name: str) -> RunFolder:
    """A run folder with a configuration, so that it can be resumed."""
    run = RunFolder(Path("logs") / name)
    run.path.mkdir(parents=True)
    run.config.touch()
    return run


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for scontrol was asked, one line each."""
    scontrol, asked = tmp_path / "bin" / "scontrol", tmp_path / "asked"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    return asked


def stopped_by(signum: int, run: RunFolder | None = None, message: str = "") -> str:
    with pytest.raises(Stopped) as stopped, stops_explained(), stops_explained(run):
        raise Stopped(message, signum)
    assert stopped.value.signum == signum
    return str(stopped.value)


def test_rank_zero_requeues_the_job_at_slurms_signal(asked: Path) -> None:
    run = small_run("x")
    assert stopped_by(signal.SIGTERM, run, "Saved.") == "Saved. Resume with: cifar100 train --resume x"
    assert stopped_by(signal.SIGTERM) == ""
    assert set(asked.read_text().splitlines()) == {"show job 77"}  # whether SIGTERM is a preemption
    asked.unlink()
    assert stopped_by(signal.SIGUSR1, run, "Saved.").startswith("Saved. SLURM requeued job 77. SLURM will resume")
    assert asked.read_text() == "requeue 77\n"
    assert stopped_by(signal.SIGUSR1) == "SLURM requeued job 77."  # while the data are prepared
    assert asked.read_text() == "requeue 77\n" * 2


@pytest.mark.parametrize(
    ("said", "is_requeued"),
    [
        ("JobId=77 JobState=RUNNING Reason=None PreemptEligibleTime=2026-01-01 PreemptTime=2026-01-02", True),
        ("JobId=77 JobState=RUNNING Reason=None PreemptEligibleTime=2026-01-01 PreemptTime=None", False),
        ("JobId=77 JobState=RUNNING Reason=None", False),
        ("JobId=77 JobState=CANCELLED Reason=None PreemptTime=2026-01-02", False),
    ],
)
def test_a_preempted_job_is_requeued_and_a_cancelled_one_is_not(
    said: str, is_requeued: bool, asked: Path, tmp_path: Path
) -> None:
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {asked}\necho "{said}"\n')
    line = stopped_by(signal.SIGTERM, small_run("x"), "Saved.")
    assert line.startswith("Saved. SLURM requeued job 77." if is_requeued else "Saved. Resume with: ")
    assert ("requeue 77" in asked.read_text()) == is_requeued


def test_other_ranks_do_not_requeue_the_job(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "cifar100")
    monkeypatch.setenv("RANK", "1")
    assert stopped_by(signal.SIGUSR1, small_run("x")) == "Resume with: cifar100 train --resume x"
    assert not asked.exists()


def test_a_task_of_an_array_is_requeued_by_its_own_number(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    assert requeue() == "SLURM requeued job 70_7."
    assert asked.read_text() == "requeue 70_7\n"


def test_a_job_that_cannot_be_requeued_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("PATH", str(tmp_path))  # without scontrol
    assert requeue().startswith("SLURM could not requeue job 77 (")


def request_of(
    config: Config, *, command: str = "train", experiment: str | None = None, **parts: str
) -> Request | None:
    return slurm_request(command, config, experiment=experiment, parts=parts)


def run_of(request: Request | None, name: str, status: str, updated: int = 1) -> RunFolder:
    run = RunFolder(Path("logs") / name)
    run.path.mkdir(parents=True)
    remember_request(request, run)
    run.status.write_text(json.dumps({"status": status, "updated": f"2026-01-0{updated}"}))
    return run


def test_a_command_finds_its_own_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert request_of(A) is None
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    a, b = run_of(request_of(A), "a", "finished"), run_of(request_of(B), "b", "stopped", 2)
    assert requeued_run(request_of(A)) is None  # not requeued
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")

    def found(config: Config, **options: Any) -> str | None:
        run = requeued_run(request_of(config, **options))
        return None if run is None else run.name

    assert found(A) == a.name
    assert found(B) == b.name
    for other in ({"command": "find-lr"}, {"experiment": "c"}, {"network": "mine.Net"}):
        assert found(A, **other) is None
    run_of(request_of(A), "later", "killed")
    assert found(A) == "later"  # an unfinished one first
    run_of(request_of(A), "newest", "failed", 3)
    assert found(A) == "newest"
    with occupied(RunFolder(Path("logs/newest"))):  # by the same command, in the background
        assert found(A) == "later"
    monkeypatch.setenv("SLURM_JOB_ID", "6")
    assert found(A) is None


def test_the_tasks_of_an_array_have_their_own_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    for task in "12":
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        run_of(request_of(A), f"task{task}", "stopped")
    for task in "12":
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        monkeypatch.setenv("SLURM_JOB_ID", f"9{task}")  # SLURM may number a requeued task anew
        found = requeued_run(request_of(A))
        assert found is not None
        assert found.name == f"task{task}"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"job": "5"}', "\0", "[" * 5000])
def test_a_damaged_record_is_no_run_of_the_job(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run = run_of(request_of(A), "a", "stopped")
    assert requeued_run(request_of(A)) is not None
    run.request.write_text(content)
    assert requeued_run(request_of(A)) is None


def test_a_job_of_two_trainings_is_requeued(
    tiny_data: Path, asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {**SMALL_BATCHES, "training.max_epochs": 1}
    configs = [small_config(tiny_data, **short), small_config(tiny_data, **short, **{"training.seed": 7})]
    whole = commands.train(configs[1], experiment="whole")
    first = commands.train(configs[0])
    with pytest.raises(Stopped, match="SLURM requeued job 77"):
        commands.train(configs[1], callbacks=[AtStep(5, send(signal.SIGUSR1))])
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    before = first.metrics.read_bytes()
    capsys.readouterr()
    again = [commands.train(config) for config in configs]
    assert [run.name for run in again] == ["experiment1", "experiment2"]
    assert "logs/experiment1 finished before SLURM requeued the job; skipping it." in capsys.readouterr().out
    assert first.metrics.read_bytes() == before
    assert_same_run(whole, again[1])
    third: Callable[..., RunFolder] = commands.train
    assert third(configs[1], experiment="third").name == "third"
    assert {run.name: read_status(run)["status"] for run in run_folders()} == dict.fromkeys(
        ("whole", "experiment1", "experiment2", "third"), "finished"
    )


@pytest.mark.usefixtures("short_range_tests")
def test_the_range_test_of_a_requeued_job_is_not_repeated(
    tiny_data: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tiny_data)
    with pytest.raises(Stopped, match="SLURM requeued job 77"), monkeypatch.context() as patch:
        patch.setattr("cifar100.training.lr_finder.range_test.suggest", lambda *_: send(signal.SIGUSR1)())
        commands.find_lr(config)
    assert asked.read_text() == "requeue 77\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    found = commands.find_lr(config)
    assert commands.find_lr(config) == found
    assert [run.name for run in run_folders()] == ["experiment1"]
    assert read_status(run_folders()[0])["status"] == "finished"


def test_a_finished_resumption_of_a_requeued_job_is_skipped(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    config = small_config(tiny_data, **{"training.max_epochs": 1, "training.limit_train_batches": 2})
    run = commands.train(config, experiment="mine")
    longer = {"training.max_epochs": 2}
    commands.train(resume="mine", changes=longer)
    with pytest.raises(UserError, match="has finished its 2 epochs"):
        commands.train(resume="mine", changes=longer)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    capsys.readouterr()
    assert commands.train(resume="mine", changes=longer).path == run.path
    assert capsys.readouterr().out == "logs/mine finished before SLURM requeued the job; skipping it.\n"
    assert len(epochs(commands.train(resume="mine", changes={"training.max_epochs": 3}))) == 3


def test_a_range_test_is_not_to_be_resumed() -> None:
    run = small_run("range")
    run.config.unlink()
    assert stopped_by(signal.SIGTERM, run) == ""
