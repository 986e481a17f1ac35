"""A sweep from its file to `best.yaml`: trials are ordinary runs, and nothing that is interrupted is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifar100 import commands
from cifar100.errors import Stopped, UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import read_epochs
from cifar100.runs.status import read_status
from cifar100.search.sweep import worker
from cifar100.search.sweep.results import SweepResult
from cifar100.search.sweep.space import read_space
from cifar100.settings import load_complete_config, load_config, write_config

Write = Callable[..., Path]


def command(*arguments: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-m", "cifar100", "sweep", *arguments], stdout=file, stderr=file)


def wait_until(condition: Callable[[], object], *, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def states(result: SweepResult) -> list[str]:
    return [trial.state for trial in sorted(result.trials, key=lambda trial: trial.number)]


def test_a_sweep_finds_a_configuration_that_train_takes(write_space: Write, capsys: pytest.CaptureFixture[str]) -> None:
    shorter = commands.sweep(write_space(trials=1))
    said = capsys.readouterr().out
    assert f"{Path('logs/sweeps/small')}: 1 trial; its table at any moment: cifar100 sweep small\n" in said
    assert states(shorter) == ["finished"]
    assert shorter.trials[0].values == {"optimization.learning_rate": 0.3, "optimization.sam": "none"}  # of the recipe
    space = write_space()  # the same sweep, with another number of trials
    result = commands.sweep(space)
    assert states(result) == ["finished", "finished"]
    assert result.best is not None
    assert shorter.trials[0] in result.trials  # not trained again
    for trial in result.trials:
        run = RunFolder(trial.run)
        assert read_status(run)["status"] == "finished"
        epochs = [epoch["val/accuracy"] for epoch in read_epochs(run.metrics)]
        assert trial.accuracy == max(epochs)
        assert trial.epochs == len(epochs) == 2
        assert load_complete_config(run.config) == read_space(space).config(trial.values)
        assert not run.evaluation("test").exists()
    assert load_config(files=result.best_config) == load_complete_config(RunFolder(result.best.run).config)
    page = result.page.read_text()
    assert "<h2>History</h2>" in page
    assert "sweep.db" not in page

    assert commands.sweep("small") == result
    assert commands.sweep(space) == result  # nothing is left to do
    with pytest.raises(UserError, match=r"another sweep named 'small' \(space: .* 0.01 to 1, logarithmic there, no"):
        commands.sweep(write_space(space={"optimization.sam": ["none", "friendly"]}))
    with pytest.raises(UserError, match=r"found no sweep 'smal' \(there are: small\)"):
        commands.sweep("smal")


def test_a_folder_of_another_sweep_is_not_touched(write_space: Write) -> None:
    folder = Path("logs/sweeps/small/trial0000")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("mine")
    for _ in range(2):  # the second call takes up the trial of the first
        with pytest.raises(UserError, match=r"trial0000 belongs to another sweep; rename or remove"):
            commands.sweep(write_space(trials=1))
        assert (folder / "config.yaml").read_text() == "mine"
    folder.rename("mine")
    result = commands.sweep(write_space(trials=1))
    assert (states(result), result.trials[0].run) == (["finished"], folder)


def test_a_run_of_another_sweep_is_no_earlier_attempt(write_space: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(worker._Worker, "_train", interrupted)  # as on a machine that has gone
        with pytest.raises(Stopped):
            commands.sweep(write_space(trials=1))
    path = Path("logs/sweeps/small/trial0000/config.yaml")
    path.parent.mkdir()
    write_config(read_space(write_space(trials=1)).config({"optimization.learning_rate": 0.5}), path, comment="mine")
    before = path.read_text()
    with pytest.raises(UserError, match=r"trial0000 belongs to another sweep; rename or remove"):
        commands.sweep(write_space(trials=1))
    assert path.read_text() == before
    assert states(commands.sweep("small")) == ["waiting"]


def test_the_epochs_of_a_run_that_was_over_before_its_worker_was_killed_are_counted(
    write_space: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = worker._Worker._train

    def killed(*given: Any) -> None:
        train(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(worker._Worker, "_train", killed)
        patch.setattr(worker, "_report", lambda *_: False)
        with pytest.raises(Stopped):
            commands.sweep(write_space(trials=1))
    (trial,) = commands.sweep(write_space(trials=1)).trials
    epochs = [epoch["val/accuracy"] for epoch in read_epochs(RunFolder(trial.run).metrics)]
    assert (trial.state, trial.epochs, trial.accuracy) == ("finished", 2, max(epochs))


@pytest.mark.slow
def test_a_trial_that_diverges_is_a_failed_trial(write_space: Write) -> None:
    space = {"optimization.learning_rate": [0.1, 1e38], "optimization.sam": ["none", "sam"]}
    result = commands.sweep(write_space(space=space, trials=4, sampler="random", seed=3))
    assert sorted({trial.state for trial in result.trials}) == ["failed", "finished"]
    for trial in result.trials:
        has_diverged = trial.values["optimization.learning_rate"] == 1e38
        assert (trial.state == "failed") == has_diverged
        assert ("diverged" in trial.failure or "finite" in trial.failure) == has_diverged
        assert read_status(RunFolder(trial.run))["status"] == ("diverged" if has_diverged else "finished")


@pytest.mark.slow
def test_a_sweep_ends_when_everything_fails(write_space: Write, tmp_path: Path) -> None:
    space = write_space(trials=9, fixed={"data.root": str(tmp_path / "nothing"), "data.source": str(tmp_path / "none")})
    with pytest.raises(UserError, match=r"the first trials all fail.*none"):
        commands.sweep(space)
    assert states(commands.sweep("small")).count("failed") == worker.MAX_FAILURES


class Pruning:
    """A pruner that ends every trial but the first."""

    def prune(self, study: object, trial: object) -> bool:
        return getattr(trial, "number", 0) > 0


@pytest.mark.slow
def test_a_trial_that_is_not_promising_is_stopped_and_can_be_resumed(
    write_space: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "pruner_of", lambda space: Pruning())
    result = commands.sweep(write_space(fixed={"training.max_epochs": 60}))
    assert states(result) == ["finished", "pruned"]
    pruned = next(trial for trial in result.trials if trial.state == "pruned")
    run = RunFolder(pruned.run)
    assert read_status(run)["status"] == "stopped"
    assert 1 <= len(read_epochs(run.metrics)) < 60
    assert (run.checkpoints / "last.ckpt").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupted_sweep_continues_its_trial(write_space: Write, tmp_path: Path) -> None:
    space, log = write_space(trials=1, fixed={"training.max_epochs": 40}), tmp_path / "log"
    run = RunFolder(Path("logs/sweeps/small/trial0000"))
    first = command(str(space), log=log)
    wait_until(run.metrics.is_file)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=120) == 143
    assert "Run the same command again to continue the sweep." in log.read_text()
    assert read_status(run)["status"] == "stopped"
    assert states(commands.sweep("small")) == ["waiting"]
    before = len(read_epochs(run.metrics))
    result = commands.sweep(space)
    assert states(result) == ["finished"]
    assert "resumed  after step" in run.training_log.read_text()
    assert [epoch["epoch"] for epoch in read_epochs(run.metrics)] == list(range(1, 41))
    assert result.trials[0].epochs == 40 > before


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_worker_leaves_its_trial_to_another(write_space: Write, tmp_path: Path) -> None:
    space = write_space(trials=2, fixed={"training.max_epochs": 12, "training.save_every_minutes": 0}, pruner="none")
    program = tmp_path / "two_workers.py"
    program.write_text(
        "from pathlib import Path\n"
        "from cifar100.search.sweep.sweep import run_sweep\n"
        'if __name__ == "__main__":\n'
        f"    run_sweep(Path({str(space)!r}), workers=2, heartbeat_seconds=3)\n"
    )
    log = tmp_path / "log"
    with log.open("wb") as file:
        sweep = subprocess.Popen([sys.executable, str(program)], stdout=file, stderr=file)
    runs = [RunFolder(Path(f"logs/sweeps/small/trial{number:04d}")) for number in range(2)]
    try:
        wait_until(runs[0].metrics.is_file)  # the other worker may be slower to start: this trial must not be over
        training = json.loads(runs[0].status.read_text())["pid"]
        killed = int(Path(f"/proc/{training}/stat").read_text().rpartition(")")[2].split()[1])  # its parent: the worker
        assert killed != sweep.pid
        os.kill(killed, signal.SIGKILL)
        assert sweep.wait(timeout=480) == 0, log.read_text()
    finally:
        sweep.terminate()
    assert "was killed (SIGKILL); another worker repeats its trial" in log.read_text()
    result = commands.sweep("small")
    assert states(result) == ["finished"] * 2
    assert all(trial.epochs == 12 for trial in result.trials)
    assert "resumed  after step" in runs[0].training_log.read_text()
