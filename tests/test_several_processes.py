"""Runs of two processes on the CPU, through the command line, as on two GPUs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from cifar100 import commands, models
from cifar100.data.folder.layout import DataFolder
from cifar100.runs.folder import RunFolder
from cifar100.runs.status import read_status
from cifar100.settings import load_config

BUILD_MODEL = models.build_model

PROGRAM = """
import os, sys
sys.path.insert(0, {tests!r})
from test_several_processes import build_plain_network
from cifar100 import models
from cifar100.training.lr_finder.range_test import RangeTest
from cifar100.training.optimization.clock import RunClock
from cifar100.training.recovery.divergence import LossWatch
from cifar100.training.reporting.progress_bar import EpochProgress
from cifar100.errors import UserError
from cifar100.__main__ import main

models.build_model = build_plain_network
begin = EpochProgress.on_train_epoch_start

def fail(self, trainer, module):
    begin(self, trainer, module)
    rank, epoch, failure = os.environ.get("FAIL", "9 9 none").split()
    if (trainer.global_rank, trainer.current_epoch) == (int(rank), int(epoch)):
        failures = {{"interrupt": KeyboardInterrupt, "mistake": UserError, "bug": ZeroDivisionError}}
        if failure == "kill":
            os.kill(os.getpid(), 9)
        if failure in failures:
            raise failures[failure]("as wanted")
        if failure == "requeue":
            os.kill(os.getpid(), 10)

add = LossWatch.add

def add_or_spoil(self, loss, *, step, learning_rate):
    rank, first, failure = os.environ.get("FAIL", "9 9 none").split()
    spoiled = {{"loss": step == int(first), "losses": step >= int(first)}}.get(failure, False)
    if spoiled and os.environ["RANK"] == rank:
        loss = loss * float("nan")
    add(self, loss, step=step, learning_rate=learning_rate)

test_step = RangeTest.on_train_batch_end

def test_or_stop(self, trainer, *arguments):
    rank, step, failure = os.environ.get("FAIL", "9 9 none").split()
    if failure == "stop" and os.environ["RANK"] == rank and len(self.losses) == int(step):
        os.kill(os.getpid(), 15)
    test_step(self, trainer, *arguments)

running_seconds = RunClock.running_seconds.fget

def seconds_or_more(self):
    rank, seconds, failure = os.environ.get("FAIL", "9 9 none").split()
    ahead = failure == "ahead" and os.environ["RANK"] == rank
    return running_seconds(self) + ahead * float(seconds)

RunClock.running_seconds = property(seconds_or_more)
RangeTest.on_train_batch_end = test_or_stop
EpochProgress.on_train_epoch_start = fail
LossWatch.add = add_or_spoil
if __name__ == "__main__":
    main()
"""

KILL = getattr(signal, "SIGKILL", None)

SECONDS = 120
"""Reading the pipes to their end takes longer if a process is left over: it keeps them open."""


def build_plain_network(config: Any, num_classes: int) -> nn.Module:
    """Build a network without batch normalisation, whose statistics are those of each process's own images."""
    layers = (nn.Conv2d(3, 8, 3, stride=2), nn.SiLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(128, num_classes))


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(models, "build_model", build_plain_network)
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(tests=str(Path(__file__).parent)))
    return path


def settings(root: Path, **changes: Any) -> dict[str, Any]:
    small = {
        "data.root": root,
        "data.source": "generated",
        "data.batch_size": 16,
        "training.max_epochs": 2,
        "training.accelerator": "cpu",
        "training.devices": 2,
    }
    if changes.get("data__pipeline") == "images":
        small["data.num_workers"] = 1
    return small | {name.replace("__", "."): value for name, value in changes.items()}


def command(program: Path, name: str, given: dict[str, Any], *options: str) -> list[str]:
    flat = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    return [str(program), name, "--recipe", "quickstart", *flat, *options]


def run(arguments: list[str], *, fail: str = "9 9 none", before: list[str] | None = None) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error, when the last process has ended."""
    process = subprocess.Popen(
        [sys.executable, *(before or []), *arguments],
        env={**os.environ, "FAIL": fail},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def epochs(folder: RunFolder) -> list[dict[str, float]]:
    recorded: list[dict[str, float]] = json.loads(folder.metrics.read_text())["epochs"]
    return recorded


def assert_same_epochs(one: RunFolder, other: RunFolder) -> None:
    assert len(epochs(one)) == len(epochs(other)) > 0
    for first, second in zip(epochs(one), epochs(other), strict=True):
        for name in ("train/accuracy", "val/accuracy", "val/top5_accuracy", "learning_rate"):
            assert first[name] == second[name], name
        for name in ("train/loss", "val/loss"):
            assert first[name] == pytest.approx(second[name], abs=1e-5), name


@pytest.mark.parametrize("pipeline", ["packed", pytest.param("images", marks=pytest.mark.slow)])
def test_two_processes_train_as_one_with_their_joint_batch(pipeline: str, program: Path, tiny_data: Path) -> None:
    code, out, err = run(command(program, "train", settings(tiny_data, data__pipeline=pipeline)))
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if "/2 " in line] == ["1/2", "2/2"]
    assert out.count("2 x cpu") == out.count("Next:") == 1
    assert [path.name for path in Path("logs").iterdir()] == ["experiment1"]

    alone = settings(tiny_data, data__pipeline=pipeline, data__batch_size=32, training__devices=1)
    two, one = RunFolder(Path("logs/experiment1")), commands.train(load_config("quickstart", overrides=alone))
    assert_same_epochs(two, one)
    files = [{path.name for path in folder.path.rglob("*") if "tfevents" not in path.name} for folder in (two, one)]
    assert files[0] == files[1]
    assert two.training_log.read_text().count("val accuracy") == 2

    evaluation = commands.evaluate("experiment1", split="validation", checkpoint="last")
    assert evaluation.top1 == pytest.approx(epochs(two)[-1]["val/accuracy"], abs=1e-6)
    image = next((DataFolder(tiny_data).images / "test").glob("*.png"))
    assert len(commands.predict("experiment1", [image], top=2)[0].classes) == 2


@pytest.mark.slow
def test_processes_that_divide_the_work_of_muon_train_as_one(program: Path, tiny_data: Path) -> None:
    muon = {"optimization__optimizer": "muon", "optimization__muon_learning_rate": 0.01}
    code, _, err = run(command(program, "train", settings(tiny_data, **muon)))
    assert (code, err) == (0, "")
    alone = settings(tiny_data, **muon, data__batch_size=32, training__devices=1)
    assert_same_epochs(RunFolder(Path("logs/experiment1")), commands.train(load_config("quickstart", overrides=alone)))


@pytest.mark.slow
def test_batch_statistics_of_rank_zero_are_validated_and_saved(tiny_data: Path) -> None:
    given = settings(tiny_data, model__widths="[8,8,8]")
    code, _, err = run(["-m", "cifar100", *command(Path(), "train", given)[1:]])
    assert (code, err) == (0, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build_model", BUILD_MODEL)
        evaluation = commands.evaluate("experiment1", split="validation", checkpoint="last")
    last = epochs(RunFolder(Path("logs/experiment1")))[-1]
    assert evaluation.top1 == pytest.approx(last["val/accuracy"], abs=1e-6)
    assert evaluation.loss == pytest.approx(last["val/loss"], rel=1e-4)


@pytest.mark.slow
def test_processes_of_torchrun_train_as_those_of_the_launcher(program: Path, tiny_data: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    code, out, err = run(command(program, "train", settings(tiny_data)), before=torchrun)
    assert code == 0, err
    assert [path.name for path in Path("logs").iterdir()] == ["experiment1"]
    assert out.count("Next:") == 1
    run(command(program, "train", settings(tiny_data)))
    assert_same_epochs(*(RunFolder(Path("logs") / name) for name in ("experiment1", "experiment2")))

    code, out, err = run(command(program, "train", settings(tiny_data, training__devices=1)), before=torchrun)
    assert code != 0
    assert "torchrun has started 2 processes, but --training.devices 1 times --training.num_nodes 1 is 1" in err
    assert not Path("logs/experiment3").exists()


AVERAGES = {"optimization__sam": "friendly", "optimization__sam_batch_size": 8, "optimization__ema_decay": 0.9}


@pytest.mark.slow
@pytest.mark.parametrize("special", [{}, AVERAGES], ids=["plain", "averages"])
def test_a_run_of_two_processes_is_resumed_where_it_was_interrupted(
    special: dict[str, Any], program: Path, tiny_data: Path
) -> None:
    arguments = command(program, "train", settings(tiny_data, training__max_epochs=3, **special))
    assert run(arguments)[0] == 0
    code, _, err = run([*arguments, "--experiment", "broken"], fail="0 2 interrupt")
    assert code == 130
    assert err.strip() == "cifar100: interrupted. as wanted Resume with: cifar100 train --resume broken"
    code, out, err = run([str(program), "train", "--resume", "broken"])
    assert (code, err) == (0, "")
    assert out.count("3/3") == 1
    assert_same_epochs(RunFolder(Path("logs/experiment1")), RunFolder(Path("logs/broken")))
    code, _, err = run([str(program), "train", "--resume", "broken"])
    assert code == 2
    assert err.startswith(f"cifar100: {Path('logs/broken')} has finished its 3 epochs")
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, KILL])
@pytest.mark.parametrize("pipeline", ["packed", "images", "packed, a script's background job"])
def test_no_process_outlives_the_launcher(signum: int, pipeline: str, program: Path, tiny_data: Path) -> None:
    pipeline, _, in_background = pipeline.partition(", ")
    if in_background and signum == signal.SIGINT:
        pytest.skip("ignored there")
    given = settings(tiny_data, data__pipeline=pipeline, training__max_epochs=100000)
    arguments = [sys.executable, *command(program, "train", given)]
    if in_background:
        arguments = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *arguments]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = time.monotonic()
    while not Path("logs/experiment1/metrics.json").exists() and time.monotonic() < begun + SECONDS:
        time.sleep(0.1)
    process.send_signal(signum)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    if signum != KILL:
        assert (process.returncode, err.count("\n"), err.count("interrupted")) == (128 + signum, 1, 1)
    elif sys.platform == "linux":  # torch's signal at the launcher's death; elsewhere they train to the end
        assert read_status(RunFolder(Path("logs/experiment1")))["status"] == "stopped"


@pytest.mark.slow
def test_processes_whose_clocks_differ_end_a_run_by_the_time_of_the_first(program: Path, tiny_data: Path) -> None:
    sizes = {"training__resolutions": [16, 32], "training__resolution_changes": [0.5]}
    given = settings(tiny_data, training__max_epochs="null", training__max_minutes=0.3, **sizes)
    begun = time.monotonic()
    assert run(command(program, "train", given), fail="1 9 ahead")[0] == 0
    assert time.monotonic() - begun >= 0.3 * 60
    assert epochs(RunFolder(Path("logs/experiment1")))[-1]["learning_rate"] < 1e-3


@pytest.mark.slow
def test_a_mistake_is_told_once(program: Path, tiny_data: Path) -> None:
    RunFolder(Path("logs/taken")).path.mkdir(parents=True)
    code, _, err = run(command(program, "train", settings(tiny_data), "--experiment", "taken"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"{Path('logs/taken')} already exists" in err
    for rank in (0, 1):
        code, _, err = run(command(program, "train", settings(tiny_data)), fail=f"{rank} 1 mistake")
        assert (code, err) == (2, "cifar100: as wanted\n")
    code, _, err = run(command(program, "train", settings(tiny_data)), fail="1 1 bug")
    assert (code, err.count("Traceback")) == (1, 2)  # the launcher's and the process's
    assert err.endswith("ZeroDivisionError: as wanted\n")


@pytest.mark.slow
def test_a_killed_process_ends_the_run_with_one_line(program: Path, tiny_data: Path) -> None:
    code, _, err = run(command(program, "train", settings(tiny_data)), fail="1 1 kill")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("cifar100: the process of rank 1 was killed (SIGKILL)")
    assert run([str(program), "train", "--resume", "experiment1"])[::2] == (0, "")


@pytest.mark.slow
def test_all_processes_skip_a_save_after_a_loss_that_is_not_finite_in_one(program: Path, tiny_data: Path) -> None:
    every_look = settings(tiny_data, data__batch_size=8, training__save_every_minutes=0)
    code, _, err = run(command(program, "train", every_look), fail="1 19 loss")  # all processes look after 20 steps
    assert (code, err) == (0, "")
    assert len(epochs(RunFolder(Path("logs/experiment1")))) == 2


@pytest.mark.slow
def test_all_processes_end_when_the_losses_of_one_stay_not_finite(program: Path, tiny_data: Path) -> None:
    code, _, err = run(command(program, "train", settings(tiny_data)), fail="1 3 losses")
    assert (code, err.count("\n")) == (3, 1)
    assert "the loss was not finite at step 4, at a learning rate of " in err
    assert "nan" not in err
    assert read_status(RunFolder(Path("logs/experiment1")))["status"] == "diverged"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="SLURM runs on POSIX")
def test_slurm_requeues_a_job_once(program: Path, tiny_data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    arguments = command(program, "train", settings(tiny_data, training__max_epochs=3))
    code, _, err = run(arguments, fail="1 1 requeue")  # only rank 1 gets it
    assert (code, err.count("\n")) == (128 + signal.SIGUSR1, 1), err
    assert "SLURM requeued job 77." in err
    assert (tmp_path / "asked").read_text() == "requeue 77\n"


@pytest.mark.slow
def test_two_processes_find_a_learning_rate_and_use_it(program: Path, tiny_data: Path) -> None:
    code, out, err = run(command(program, "find-lr", settings(tiny_data), "--experiment", "range"))
    assert code == 0
    # One process tells the progress and the time of the test, if it is long enough.
    assert all(line.startswith("Learning-rate range test: ") for line in err.splitlines()), err
    assert err.count(" in ") <= 1, err
    assert out.count("learning-rate finder:") == out.count("plot:") == 1
    assert {path.name for path in Path("logs/range").iterdir()} == {
        "lr_finder.json",
        "lr_finder.png",
        "run.lock",
        "status.json",
    }
    automatic = settings(tiny_data, optimization__learning_rate="auto")
    assert run(command(program, "train", automatic, "--experiment", "auto"))[0] == 0
    found = json.loads(Path("logs/range/lr_finder.json").read_text())["learning_rate"]
    assert load_config(files=[Path("logs/auto/config.yaml")]).optimization.learning_rate == pytest.approx(found)
    assert run(command(program, "train", settings(tiny_data, optimization__learning_rate=found)))[0] == 0
    assert_same_epochs(RunFolder(Path("logs/auto")), RunFolder(Path("logs/experiment1")))


@pytest.mark.slow
def test_only_rank_0_logs_to_a_tracker_which_gets_the_report(program: Path, tiny_data: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path}/mlflow.db"
    given = settings(tiny_data, training__loggers="[mlflow]", training__mlflow_uri=store)
    code, _, err = run(command(program, "train", given))
    assert (code, err) == (0, "")
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("cifar100")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert len(client.get_metric_history(found.info.run_id, "val/accuracy")) == 2
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(found.info.run_id)}


@pytest.mark.slow
def test_data_are_prepared_by_one_process(program: Path, tiny_data: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(DataFolder(tiny_data).images, tmp_path / "own")
    given = settings(tmp_path / "own", data__source="download")
    code, out, err = run(command(program, "train", given))
    assert code == 0, err
    assert (out + err).count("600 training images") <= 1
    assert out.count("Next:") == 1


@pytest.mark.slow
def test_on_a_terminal_one_process_draws_the_bar_and_none_waits_for_it(program: Path, tiny_data: Path) -> None:
    pty = pytest.importorskip("pty")
    arguments = [sys.executable, *command(program, "train", settings(tiny_data, training__max_epochs=30))]
    controller, terminal = pty.openpty()
    process = subprocess.Popen(arguments, stdout=terminal, stderr=terminal, env={**os.environ, "TERM": "xterm"})
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(controller, 65536)
        except OSError:  # the last process has closed it
            break
    os.close(controller)
    assert process.wait(timeout=SECONDS) == 0
    assert b" left" in shown
    assert shown.count(b"Next:") == 1


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("launcher", [None, ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]])
def test_a_signal_to_one_process_stops_all(
    rank: int, launcher: list[str] | None, program: Path, tiny_data: Path
) -> None:
    """In the range test, in which no collective agrees on a stop."""
    given = settings(tiny_data, optimization__learning_rate="auto", optimization__optimizer="sgd")
    code, _, err = run(command(program, "train", given), fail=f"{rank} 3 stop", before=launcher)
    assert code == (1 if launcher else 143), err  # torchrun's own status
    said = [line for line in err.splitlines() if line.startswith("cifar100: ")]
    assert said == ["cifar100: interrupted. Resume with: cifar100 train --resume experiment1"], err
    if launcher is None:
        assert "Traceback" not in err
    assert read_status(RunFolder(Path("logs/experiment1")))["status"] == "stopped"
