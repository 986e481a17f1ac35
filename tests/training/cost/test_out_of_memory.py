from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from limited_memory import run_limited
from small_runs import AtStep, epochs, small_config

from cifar100 import commands
from cifar100.config import get
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config
from cifar100.training.cost import out_of_memory
from cifar100.training.cost.out_of_memory import is_out_of_memory
from cifar100.training.cost.step_memory import StepMemory

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes. Error code 12"),
    MemoryError(),
]


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that holds 20 images."""
    monkeypatch.chdir(tmp_path)
    model = StepMemory(fixed=0, per_image=1)
    monkeypatch.setattr(out_of_memory, "measure_step_memory", lambda subject, device, largest: model)
    monkeypatch.setattr(out_of_memory, "usable_memory", lambda device, processes: 20)


def fail_with(error: BaseException, step: int) -> AtStep:
    def fail() -> None:
        raise error

    return AtStep(step, fail)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_gets_one_line_with_the_batch_that_fits(error: Exception, tiny_data: Path) -> None:
    with pytest.raises(UserError) as caught:
        commands.train(small_config(tiny_data), callbacks=[fail_with(error, 1)])
    line = str(caught.value)
    assert line.startswith("out of memory (cpu: ")
    assert line.endswith(
        "16 images in a batch would have fitted; resume with them: cifar100 train --resume experiment1 "
        "--data.batch_size 16"
    )
    assert "\n" not in line


def test_the_printed_command_begins_the_run_again_with_the_smaller_batch(
    tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {"training.max_epochs": 1}
    with pytest.raises(UserError, match=r"--data.batch_size 16"):
        commands.train(small_config(tiny_data, **short), callbacks=[fail_with(ERRORS[0], 1)])
    run = commands.train(resume="experiment1", changes={"data.batch_size": "16"})
    assert "--data.batch_size: 32 -> 16 (the run starts over)" in capsys.readouterr().out
    assert len(epochs(run)) == 1
    assert get(load_config(files=[run.config]), "data.batch_size") == 16
    fresh = commands.train(small_config(tiny_data, **short, **{"data.batch_size": 16}), experiment="fresh")
    assert epochs(run) == epochs(fresh)


def test_a_trained_run_keeps_its_steps(tiny_data: Path) -> None:
    saved_before = small_config(tiny_data, **{"training.save_every_minutes": 0})
    with pytest.raises(UserError) as caught:
        commands.train(saved_before, callbacks=[fail_with(ERRORS[0], 20)])
    assert str(caught.value).endswith(
        "a trained run keeps its steps: close other programs and resume (cifar100 train --resume experiment1), or "
        "start another run (cifar100 train --config logs/experiment1/config.yaml --data.batch_size 16)"
    )
    with pytest.raises(UserError, match=r"--data.batch_size cannot change mid-run"):
        commands.train(resume="experiment1", changes={"data.batch_size": 16})
    assert len(epochs(commands.train(resume="experiment1"))) == 3


def test_nothing_that_fits_is_said(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_memory, "usable_memory", lambda device, processes: 1)
    with pytest.raises(UserError, match="no batch of 2 images or more fits; choose a smaller network"):
        commands.train(small_config(tiny_data), callbacks=[fail_with(ERRORS[0], 1)])


def test_a_range_test_names_the_batch_size(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cifar100.training.lr_finder.range_test import RangeTest

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RangeTest, "on_train_batch_end", fail)
    with pytest.raises(UserError, match=r"16 images in a batch would have fitted: --data.batch_size 16$"):
        commands.find_lr(small_config(tiny_data))


def test_a_bug_stays_a_bug(tiny_data: Path) -> None:
    assert not is_out_of_memory(RuntimeError("wrong shape"))
    with pytest.raises(RuntimeError, match="wrong shape"):
        commands.train(small_config(tiny_data), callbacks=[fail_with(RuntimeError("wrong shape"), 1)])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space")
def test_a_real_allocation_fails(tiny_data: Path) -> None:
    """`ulimit -v` makes malloc fail, where a CPU usually overcommits. The batch that is named can be trained."""
    settings = f"--recipe baseline --data.root {tiny_data} --data.source generated --training.max_epochs 1"
    small = f"{settings} --model.name fast_net --model.widths [256,256,256] --training.channels_last false"

    def train(arguments: str) -> subprocess.CompletedProcess[str]:
        return run_limited(["-m", "cifar100", "train", *arguments.split()], megabytes=1000)

    failed = train(f"{small} --data.batch_size 500")
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.count("\n") == 1
    assert failed.stderr.startswith("cifar100: out of memory (cpu: ")
    command = failed.stderr.strip().partition("resume with them: cifar100 train ")[2]
    assert command.startswith("--resume experiment1 --data.batch_size ")
    resumed = train(f"{command} --training.max_epochs 1")
    assert resumed.returncode == 0, resumed.stderr
    assert RunFolder(Path("logs/experiment1")).metrics.is_file()
