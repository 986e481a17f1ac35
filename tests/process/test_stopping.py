"""What a signal does: raised at once, deferred to the end of a step, or when an import is done."""

# ruff: noqa: PT012, SIM105  # what happens inside of the block is what is tested
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifar100.errors import Stopped
from cifar100.process import stopping
from cifar100.process.stopping import StopSignal, kept_from_children, stop_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] if os.name == "posix" else []


@pytest.fixture(autouse=True)
def handlers_are_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = [signal.getsignal(number) for number in ALL], sys.unraisablehook
    yield
    assert ([signal.getsignal(number) for number in ALL], sys.unraisablehook) == before


def test_the_requeue_signal_counts_only_under_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stop_signals() == ALL
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert stop_signals() == [*ALL, signal.SIGUSR1]


@pytest.mark.parametrize("number", ALL)
def test_a_signal_raises_at_once(number: int) -> None:
    with pytest.raises(Stopped) as stopped, StopSignal():
        signal.raise_signal(number)
    assert (stopped.value.signum, stopped.value.exit_status) == (number, 128 + number)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_deferred_once(number: int) -> None:
    with pytest.raises(Stopped, match=r"^$"), StopSignal() as stop:
        stop.deferring = True
        signal.raise_signal(number)
        assert stop.received == number
        signal.raise_signal(number)
        pytest.fail("still here")


def test_a_deferred_signal_that_nobody_has_dealt_with_is_raised_at_the_end() -> None:
    reached = False
    with pytest.raises(Stopped), StopSignal() as stop:
        stop.deferring = True
        signal.raise_signal(signal.SIGTERM)
        reached = True
    assert reached


def test_a_signal_waits_for_the_end_of_a_block() -> None:
    done = []
    with pytest.raises(Stopped) as stopped, StopSignal() as stop:
        with stop.deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("block")
        done.append("after")
    assert done == ["block"]
    assert stopped.value.signum == signal.SIGTERM


def test_a_signal_that_was_swallowed_is_raised_at_the_end() -> None:
    with pytest.raises(Stopped), StopSignal():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            pass


def test_a_second_signal_right_after_the_first_is_the_same_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stopped), StopSignal(), StopSignal():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGTERM)  # such as from a launcher: the cleanup goes on
            monkeypatch.setattr(stopping, "SECONDS_OF_ONE_STOP", 0.0)
            with pytest.raises(Stopped):
                signal.raise_signal(signal.SIGTERM)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with StopSignal():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


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


def test_an_import_is_finished_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_module.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(0.2)\n"
        "except BaseException:\n    swallowed = True\nfinished = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Stopped), StopSignal():
        import slow_module  # type: ignore[import-not-found]

        time.sleep(5)
    assert slow_module.finished
    assert not hasattr(slow_module, "swallowed")
    del sys.modules["slow_module"]


def test_a_signal_in_a_finalizer_is_raised_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped), StopSignal():
        thing = Finalized()
        del thing
        time.sleep(5)
    assert capsys.readouterr().err == ""


def test_a_signal_in_a_callback_of_c_is_sent_again(capsys: pytest.CaptureFixture[str]) -> None:
    import weakref

    class Thing:
        pass

    with pytest.raises(Stopped), StopSignal():
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
        del thing
        time.sleep(5)
    assert reference() is None
    assert capsys.readouterr().err == ""


def test_children_do_not_get_the_signals_of_the_terminal() -> None:
    show = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    with kept_from_children():
        shown = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True).stdout
    assert all(name in shown for name in ("SIGHUP", "SIGINT", "SIGUSR1"))
    assert "SIGTERM" not in shown
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
