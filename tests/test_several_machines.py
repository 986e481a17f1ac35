"""Two hosts: network namespaces with their own addresses, their own disks, and a cable that can be cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from cifar100.data.folder.layout import DataFolder
from cifar100.runs.checkpoints import read_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.status import read_status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from test_several_processes import build_plain_network
from cifar100 import models
from cifar100.__main__ import main

models.build_model = build_plain_network
if __name__ == "__main__":
    main()
"""

SECONDS = 240
A_MINUTE = 60


@dataclass
class Host:
    """A network namespace with one end of a cable, and a folder that stands for its disk."""

    name: str
    address: str
    cable: str
    disk: Path

    def start(self, arguments: list[str]) -> subprocess.Popen[str]:
        inside = ["ip", "netns", "exec", self.name]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": self.cable, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*inside, sys.executable, *arguments],
            cwd=self.disk,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self) -> list[int]:
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(process) for process in listed.stdout.split()]

    def trains(self, program: Path) -> bool:
        """Return whether a process that torchrun has started is there."""
        for process in self.processes():
            with suppress(OSError):  # it has just ended
                arguments = Path(f"/proc/{process}/cmdline").read_text().split("\0")
                if "torch.distributed.run" not in arguments and str(program) in arguments:
                    return True
        return False

    def kill(self) -> None:
        for process in self.processes():
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)

    def cut_cable(self) -> None:
        ip("netns", "exec", self.name, "ip", "link", "set", self.cable, "down")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts(tmp_path: Path, tiny_data: Path) -> Iterator[tuple[Host, Host]]:
    """Each has its own copy of custom data, and `logs` on a disk that both share."""
    (tmp_path / "shared" / "logs").mkdir(parents=True)
    made = []
    for number in (1, 2):
        name = f"cifar100-{os.getpid()}-{number}"
        host = Host(name, f"10.77.0.{number}", f"veth{number}", tmp_path / f"host{number}")
        host.disk.mkdir()
        (host.disk / "logs").symlink_to(tmp_path / "shared" / "logs")
        shutil.copytree(DataFolder(tiny_data).images, host.disk / "dataset")
        made.append(host)
    try:
        for host in made:
            ip("netns", "add", host.name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here ({error})")
    try:
        one, two = made
        ends = ("name", one.cable, "netns", one.name), ("name", two.cable, "netns", two.name)
        ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for host in made:
            inside = ("netns", "exec", host.name, "ip")
            ip(*inside, "addr", "add", f"{host.address}/24", "dev", host.cable)
            ip(*inside, "link", "set", host.cable, "up")
            ip(*inside, "link", "set", "lo", "up")
        yield one, two
    finally:
        for host in made:
            host.kill()
            ip("netns", "del", host.name)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(tests=str(Path(__file__).parent)))
    return path


def settings(**changes: Any) -> list[str]:
    given = {
        "data.source": "download",  # of the custom data in `dataset`, whatever the recipe says
        "data.root": "dataset",
        "data.batch_size": 16,
        "training.max_epochs": 2,
        "training.accelerator": "cpu",
    }
    given |= {name.replace("__", "."): value for name, value in changes.items()}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


def start_both(hosts: tuple[Host, Host], program: Path, arguments: list[str]) -> list[subprocess.Popen[str]]:
    """Start a command with torchrun on both hosts."""
    started = []
    for host in hosts:
        options = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
        options += ["--rdzv-endpoint", f"{hosts[0].address}:29500", "--local-addr", host.address]
        options += ["--rdzv-conf", f"is_host={int(host is hosts[0])}"]  # both have the name of this machine
        started.append(host.start(["-m", "torch.distributed.run", *options, str(program), *arguments]))
    return started


def train_on_both(hosts: tuple[Host, Host], program: Path, arguments: list[str]) -> list[str]:
    """Return what both have printed, when both have ended well."""
    outputs = []
    for process in start_both(hosts, program, arguments):
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
        outputs.append(out)
    return outputs


def train_on(host: Host, program: Path, arguments: list[str]) -> str:
    process = host.start([str(program), *arguments])
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return out


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(run.checkpoints / "last.ckpt")["state_dict"]
    return state


def assert_same_weights(one: RunFolder, other: RunFolder) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pipeline", ["packed", "images"])
def test_two_machines_train_as_one_process_with_their_joint_batch(
    pipeline: str, hosts: tuple[Host, Host], program: Path
) -> None:
    workers = {"data__num_workers": 1} if pipeline == "images" else {}
    given = {"data__pipeline": pipeline, **workers}
    recipe = ["train", "--recipe", "quickstart"]
    both = [*recipe, *settings(training__num_nodes=2, **given), "--experiment", "both"]
    outputs = train_on_both(hosts, program, both)
    assert outputs[0].count("2 x cpu") == outputs[0].count("Next:") == 1
    assert "epoch" not in outputs[1]
    for host in hosts:  # each has prepared the data on its own disk
        assert DataFolder(host.disk / "dataset").is_prepared()
    alone = [*recipe, *settings(data__batch_size=32, **given), "--experiment", "alone"]
    train_on(hosts[0], program, alone)
    logs = hosts[0].disk / "logs"
    assert_same_weights(RunFolder(logs / "both"), RunFolder(logs / "alone"))


@pytest.mark.parametrize("fault", ["host 1 is killed", "host 2 is killed", "the cable is cut"])
def test_a_machine_that_goes_ends_the_other_within_a_minute(
    fault: str, hosts: tuple[Host, Host], program: Path
) -> None:
    recipe = ["train", "--recipe", "quickstart"]
    endless = settings(training__num_nodes=2, training__max_epochs=100000, training__save_every_minutes=0.02)
    processes = start_both(hosts, program, [*recipe, *endless, "--experiment", "broken"])
    run = RunFolder(hosts[0].disk / "logs" / "broken")
    begun = time.monotonic()
    while not (run.checkpoints / "last.ckpt").is_file() and time.monotonic() < begun + SECONDS:
        time.sleep(0.2)
    if fault == "the cable is cut":
        hosts[0].cut_cable()
    else:
        hosts[int(fault.split()[1]) - 1].kill()
    begun = time.monotonic()
    survivors = [number for number in (0, 1) if f"host {number + 1}" not in fault]
    while any(hosts[number].trains(program) for number in survivors) and time.monotonic() < begun + A_MINUTE:
        time.sleep(0.2)
    took = time.monotonic() - begun
    assert took < A_MINUTE
    for number, process in enumerate(processes):  # torchrun behind a cut cable waits longer for the other torchrun
        if fault == "the cable is cut" and number == 1:
            process.kill()
        _, err = process.communicate(timeout=SECONDS)
        if number in survivors:
            told = [line for line in err.splitlines() if line.startswith("cifar100: ")]
            print(f"{fault}: {took:.0f} s, {told}")
            assert process.returncode != 0
            assert len(told) == 1, err
            assert "another machine" in told[0]
            assert told[0].endswith("resume the run: cifar100 train --resume broken"), told
    if fault != "host 1 is killed":
        assert read_status(run)["status"] == "failed"
        assert "another machine" in read_status(run)["message"]


def test_a_run_of_two_machines_is_resumed_on_one_and_on_two_again(hosts: tuple[Host, Host], program: Path) -> None:
    recipe = ["train", "--recipe", "quickstart", *settings(training__num_nodes=2, training__max_epochs=1)]
    train_on_both(hosts, program, [*recipe, "--experiment", "moved"])
    more = ["train", "--resume", "moved", "--training.max_epochs"]
    out = train_on(hosts[0], program, [*more, "2", "--training.num_nodes", "1"])
    assert "--training.num_nodes: 2 -> 1 (the images of an optimizer step stay the same" in out
    train_on_both(hosts, program, [*more, "3", "--training.num_nodes", "2"])
    run = RunFolder(hosts[0].disk / "logs" / "moved")
    recorded = json.loads(run.metrics.read_text())["epochs"]
    assert [epoch["epoch"] for epoch in recorded] == [1, 2, 3]
    assert read_status(run)["status"] == "finished"
