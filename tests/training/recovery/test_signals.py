"""When a signal ends a run, what is said about it, and which process requeues a SLURM job."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from cifar100.errors import Stopped
from cifar100.training.recovery.signals import StopSignal, requeue, stop_signals

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="SLURM runs on POSIX")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_")) or name == "LOCAL_RANK"]:
        monkeypatch.delenv(name)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for scontrol was asked, one line each."""
    scontrol, asked = tmp_path / "scontrol", tmp_path / "asked"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    return asked


def test_the_requeue_signal_counts_only_under_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stop_signals() == [signal.SIGINT, signal.SIGTERM]
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert stop_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_deferred_once(number: int) -> None:
    before = signal.getsignal(number)
    with StopSignal() as stop:
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(number)
        assert stopped.value.exit_status == 128 + number
        assert stop.received is None
        stop.deferring = True
        signal.raise_signal(number)
        assert stop.received == number
        with pytest.raises(Stopped):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            stop.deferring = True
            signal.raise_signal(signal.SIGINT)
            assert stop.received is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_left_alone_outside_of_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter() -> None:
        with StopSignal():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_rank_zero_requeues_the_job_at_slurms_signal(asked: Path) -> None:
    stop = StopSignal()
    stop.received = signal.SIGTERM
    assert stop.message("cifar100 train --resume x") == "Resume with: cifar100 train --resume x"
    assert not asked.exists()
    stop.received = signal.SIGUSR1
    assert stop.message("cifar100 train --resume x").startswith("SLURM has requeued job 77.")
    assert asked.read_text() == "requeue 77\n"


def test_other_ranks_do_not_requeue_the_job(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "cifar100")
    monkeypatch.setenv("RANK", "1")
    stop = StopSignal()
    stop.received = signal.SIGUSR1
    assert stop.message("cifar100 train --resume x") == "Resume with: cifar100 train --resume x"
    assert not asked.exists()


def test_a_task_of_an_array_is_requeued_by_its_own_number(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    assert requeue() == "SLURM has requeued job 70_7."
    assert asked.read_text() == "requeue 70_7\n"


def test_a_job_that_cannot_be_requeued_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("PATH", str(tmp_path))  # without scontrol
    assert requeue().startswith("SLURM could not requeue job 77 (")
