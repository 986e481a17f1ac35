"""Real SLURM: a controller and two nodes on the loopback interface, started by the tests."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cifar100.runs.folder import RunFolder
from cifar100.runs.status import read_status

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SECONDS = 300

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=node1,node2 MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""

SCRIPT = """#!/bin/bash
#SBATCH --nodes {nodes}
#SBATCH --ntasks-per-node 1
#SBATCH --requeue
#SBATCH --open-mode append
#SBATCH --output {output}
export MASTER_ADDR=127.0.0.1 OMP_NUM_THREADS=1
srun {python} -m cifar100 train --recipe quickstart {settings} --experiment job
"""


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = SECONDS) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() < begun + seconds, what
        time.sleep(0.5)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cluster of two nodes; the folder of its files."""
    missing = [program for program in PROGRAMS if find(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}: apt-get install slurmctld slurmd munge")
    folder = tmp_path / "slurm"
    (folder / "state").mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, ports=free_ports(3)))
    monkeypatch.setenv("SLURM_CONF", str(configuration))
    files = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munge.pid"}
    files |= {"log-file": folder / "munge.log", "seed-file": folder / "munge.seed"}
    munge = ["munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in files.items())]
    daemons = [munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "node1"], ["slurmd", "-D", "-N", "node2"]]
    started = []
    for program, *arguments in daemons:
        path = find(program)
        assert path is not None
        with (folder / f"{len(started)}.out").open("w") as output:
            started.append(subprocess.Popen([path, *arguments], stdout=output, stderr=output))
        time.sleep(1)
    try:
        wait_until(lambda: "idle" in slurm_says("sinfo", "--noheader", "--format=%t"), "the nodes are not idle")
        yield folder
    finally:
        subprocess.run(["scancel", "--quiet", "--user", "root"], check=False, capture_output=True)
        with suppress(AssertionError):
            wait_until(lambda: not slurm_says("squeue", "--noheader"), "jobs are left", seconds=30)
        for process in reversed(started):
            process.terminate()
        for process in started:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a daemon that was asked to end; slurmd may wait for a step of a cancelled job."""
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def slurm_says(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def submit(folder: Path, root: Path, *, nodes: int, options: tuple[str, ...] = (), **settings: Any) -> str:
    """Submit a training; return the number of its job. options: of `sbatch`."""
    given = {"data.root": root, "data.source": "generated", "data.batch_size": 16, "training.accelerator": "cpu"}
    given |= {name.replace("__", "."): value for name, value in settings.items()}
    flat = " ".join(f"--{name} {value}" for name, value in given.items())
    script = folder / "job.sh"
    script.write_text(SCRIPT.format(nodes=nodes, output=folder / "job.out", python=sys.executable, settings=flat))
    command = ["sbatch", "--parsable", *options, str(script)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def state_of(job: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in slurm_says("scontrol", "show", "job", job).split())
    return {name: value for name, _, value in pairs}


def test_a_job_is_requeued_and_resumes_its_run(
    slurm: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = submit(slurm, tiny_data, nodes=1, training__max_epochs=40)
    run = RunFolder(tmp_path / "logs" / "job")
    output = slurm / "job.out"
    wait_until(lambda: run.metrics.is_file(), "the training has not begun")
    subprocess.run(["scancel", "--signal=USR1", job], check=True)  # as --signal USR1@90 does before the time limit
    wait_until(lambda: state_of(job).get("Restarts") == "1", "the job is not requeued")
    wait_until(lambda: f"SLURM requeued job {job}." in output.read_text(), "the training does not say so")
    assert read_status(run)["status"] == "stopped"
    # SLURM lets a requeued job wait for two minutes.
    wait_until(lambda: state_of(job)["JobState"] == "PENDING", str(state_of(job)))
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)
    wait_until(lambda: state_of(job)["JobState"] == "COMPLETED", output.read_text())
    assert "resumed  after step" in output.read_text()
    epochs = json.loads(run.metrics.read_text())["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, 41))
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["job"]
    assert read_status(run)["status"] == "finished"


def test_a_job_at_its_time_limit_saves_and_is_requeued(
    slurm: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is two minutes: SLURM may send the signal a minute earlier than asked."""
    monkeypatch.chdir(tmp_path)
    limit = ("--time", "2", "--signal", "USR1@30")
    job = submit(slurm, tiny_data, nodes=1, options=limit, training__max_epochs=100000)
    run = RunFolder(tmp_path / "logs" / "job")
    output = slurm / "job.out"
    wait_until(lambda: state_of(job).get("Restarts") == "1", "the job is not requeued")
    wait_until(lambda: f"SLURM requeued job {job}." in output.read_text(), output.read_text())
    assert read_status(run)["status"] == "stopped"
    assert (run.checkpoints / "last.ckpt").is_file()


def test_a_job_that_is_preempted_saves_and_is_requeued(
    slurm: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = submit(slurm, tiny_data, nodes=1, training__max_epochs=100000)
    run = RunFolder(tmp_path / "logs" / "job")
    wait_until(lambda: run.metrics.is_file(), "the training has not begun")
    urgent = ["sbatch", "--parsable", "--partition", "urgent", "--nodes", "2", "--output", "/dev/null"]
    other = subprocess.run([*urgent, "--wrap", "sleep 1"], check=True, capture_output=True, text=True).stdout.strip()
    wait_until(lambda: state_of(job).get("Restarts") == "1", "the job is not requeued")
    output = slurm / "job.out"
    wait_until(lambda: f"SLURM requeued job {job}." in output.read_text(), output.read_text())
    assert read_status(run)["status"] == "stopped"
    assert (run.checkpoints / "last.ckpt").is_file()
    wait_until(lambda: state_of(other)["JobState"] == "COMPLETED", "the urgent job has not ended")


def test_a_job_that_is_cancelled_saves_and_is_not_requeued(
    slurm: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = submit(slurm, tiny_data, nodes=1, training__max_epochs=100000)
    run = RunFolder(tmp_path / "logs" / "job")
    wait_until(lambda: run.metrics.is_file(), "the training has not begun")
    subprocess.run(["scancel", job], check=True)
    wait_until(lambda: "Resume with: " in (slurm / "job.out").read_text(), "the training does not say so")
    wait_until(lambda: state_of(job)["JobState"] == "CANCELLED", "the job is not cancelled")
    assert state_of(job)["Restarts"] == "0"
    assert read_status(run)["status"] == "stopped"


def test_two_nodes_train_one_run(slurm: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = submit(slurm, tiny_data, nodes=2, training__max_epochs=2, training__num_nodes=2)
    output = slurm / "job.out"
    wait_until(lambda: state_of(job)["JobState"] in ("COMPLETED", "FAILED"), "the job has not ended")
    assert state_of(job)["JobState"] == "COMPLETED", output.read_text()
    assert output.read_text().count("2 x cpu") == 1
    assert read_status(RunFolder(tmp_path / "logs" / "job"))["status"] == "finished"
