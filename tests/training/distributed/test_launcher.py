"""Functions that run in every process; the runs themselves are in test_several_processes.py."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest

from cifar100.config import Config
from cifar100.errors import Diverged, Stopped, UserError
from cifar100.settings import load_config
from cifar100.training.distributed.launcher import _first_error, in_every_process


@in_every_process
def facts(config: Config, *, fail: bool = False) -> tuple[int, int, str]:
    """Return the process id, the world size and the rank."""
    if fail and os.environ["RANK"] == "1":
        raise Diverged("as wanted")
    return os.getpid(), int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "none")


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Config:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_")) or name == "LOCAL_RANK"]:
        monkeypatch.delenv(name)
    return load_config("quickstart", overrides={"training.accelerator": "cpu"})


@pytest.fixture
def two(one: Config) -> Config:
    return replace(one, training=replace(one.training, devices=2))


def test_one_process_starts_none(one: Config) -> None:
    assert facts(one) == (os.getpid(), 1, "none")


def test_processes_of_torchrun_start_none(two: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert facts(two) == (os.getpid(), 2, "1")


@pytest.mark.slow
def test_two_processes_return_the_result_of_rank_zero_or_raise_the_first_failure(two: Config) -> None:
    pid, *others = facts(two)
    assert (pid != os.getpid(), others) == (True, [2, "0"])
    with pytest.raises(Diverged, match="as wanted"):
        facts(two, fail=True)


def test_several_machines_need_a_launcher(two: Config) -> None:
    several = replace(two, training=replace(two.training, num_nodes=2))
    with pytest.raises(UserError, match=r"num_nodes is 2, but .* start the command with torchrun or srun"):
        facts(several)


def test_an_argument_that_cannot_be_sent_is_refused(two: Config) -> None:
    argument: Any = lambda: None  # noqa: E731
    with pytest.raises(UserError, match=r"an argument cannot be sent .* at the top level of a module"):
        facts(two, fail=argument)


@pytest.mark.parametrize("error", [Stopped("saved", 15), Diverged("so"), UserError("so")])
def test_what_ends_a_run_survives_the_way_to_the_launcher(error: BaseException) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.exit_status == error.exit_status  # type: ignore[attr-defined]


def test_importing_the_launcher_is_quick() -> None:
    import subprocess

    for module in ("launcher", "processes", "joining"):
        code = (
            f"import sys, cifar100.training.distributed.{module}; "
            "sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, module


KILLED = -9  # Windows has no signal of this name
STOPPED, MISTAKE = Stopped("", signal.SIGTERM), UserError("a mistake")
BROKEN, BUG = "Traceback: Connection closed by peer", "Traceback: ZeroDivisionError"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("failed", "exitcode", "raised", "received", "expected"),
    [
        (1, KILLED, [], [], "rank 1 was killed (SIGKILL)"),
        (1, KILLED, [(0, BROKEN)], [], "rank 1 was killed (SIGKILL)"),
        (1, KILLED, [(0, STOPPED)], [], "rank 1 was killed (SIGKILL)"),  # torch's SIGTERM came first
        (1, KILLED, [(0, MISTAKE)], [], "a mistake"),
        (1, KILLED, [(0, STOPPED)], [signal.SIGTERM], "Stopped"),  # at the third signal
        (1, 1, [(1, BUG), (0, STOPPED)], [], "ZeroDivisionError"),
        (1, 1, [(1, MISTAKE), (0, STOPPED)], [], "a mistake"),
        (1, 1, [(1, STOPPED), (0, STOPPED)], [], "Stopped"),  # somebody has sent SIGTERM to rank 1
        (1, 1, [(0, BROKEN), (1, STOPPED)], [], "Stopped"),
        (0, 1, [(0, MISTAKE)], [], "a mistake"),
    ],
)
def test_what_ended_the_first_rank_is_told_not_what_that_did_to_the_others(
    failed: int, exitcode: int, raised: list[tuple[int, Any]], received: list[int], expected: str
) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    failure = ProcessFailure(local_rank=failed, pid=1, exitcode=exitcode, error_file="none")
    errors: Any = SimpleQueue()
    for item in raised:
        errors.put(item)
    error = _first_error(ChildFailedError("work", {failed: failure}), errors, received)
    assert expected in f"{type(error).__name__}: {error}"
