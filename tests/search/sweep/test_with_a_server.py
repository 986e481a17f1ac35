"""Workers of several commands on one sweep, with a real PostgreSQL server: each trial is finished exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres import PASSWORD, postgres

from cifar100 import commands
from cifar100.config.settings_file import read_settings
from cifar100.errors import UserError
from cifar100.search.sweep.sweep import read_sweep

PROGRAM = """
import sys
from pathlib import Path
from cifar100.search.sweep.sweep import run_sweep
if __name__ == "__main__":
    run_sweep(Path(sys.argv[1]), storage=sys.argv[2], heartbeat_seconds=3)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_two_machines_share_a_sweep_and_one_is_killed(
    server: str, write_space: Callable[..., Path], tmp_path: Path
) -> None:
    epochs = 30  # so that the first machine is in the middle of a trial when the second has begun one
    space = write_space(trials=4, pruner="none", fixed={"training.max_epochs": epochs}).resolve()
    (tmp_path / "machine.py").write_text(PROGRAM)
    machines = []
    for name in ("first", "second"):  # each in a folder of its own, as on two machines
        folder = tmp_path / name
        folder.mkdir()
        with (tmp_path / f"{name}.log").open("wb") as log:
            command = [sys.executable, str(tmp_path / "machine.py"), str(space), server]
            machines.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
    deadline = time.monotonic() + 240
    trials = [tmp_path / name / "logs/sweeps/small" for name in ("first", "second")]
    while not all(any(folder.glob("trial*/metrics.json")) for folder in trials):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    machines[0].send_signal(signal.SIGKILL)
    assert machines[1].wait(timeout=480) == 0, (tmp_path / "second.log").read_text()
    machines[0].wait()

    result = read_sweep("small", storage=server)
    assert sorted(trial.number for trial in result.trials)[:2] == [0, 1]
    assert [trial.state for trial in result.trials] == ["finished"] * 4
    assert all(trial.epochs == epochs for trial in result.trials)
    of_second = {path.name for path in (tmp_path / "second/logs/sweeps/small").glob("trial*")}
    of_first = {path.name for path in (tmp_path / "first/logs/sweeps/small").glob("trial*")}
    assert of_first | of_second == {trial.run.name for trial in result.trials}
    assert read_settings(tmp_path / "second/logs/sweeps/small/best.yaml")["recipe"] == "quickstart"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes()]  # in no file, in no log


def test_the_server_holds_another_sweep_of_this_name(server: str, write_space: Callable[..., Path]) -> None:
    commands.sweep(write_space(minutes=1e-9), name="taken", storage=server)  # begins, and trains nothing
    other = write_space(fixed={"training.max_epochs": 3})
    with pytest.raises(UserError, match=r"another sweep named 'taken' \(fixed: training.max_epochs 2.0 there, ") as it:
        commands.sweep(other, name="taken", storage=server)
    assert PASSWORD not in str(it.value)


def test_a_wrong_password_is_one_line_without_it(server: str, write_space: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"tester:\*\*\*@127.0.0.1.*authentication failed") as it:
        commands.sweep(write_space(), storage=server.replace(PASSWORD, "another-secret"))
    assert "another-secret" not in str(it.value)
    assert not Path("logs").exists()
