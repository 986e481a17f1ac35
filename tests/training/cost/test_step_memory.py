from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import small_config

from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.training.cost.step_memory import USABLE, StepMemory, measure_step_memory
from cifar100.training.cost.trial import Subject, Trial
from cifar100.training.experiment import make_split
from cifar100.training.preflight.custom_parts import CustomParts


def test_the_line_is_inverted() -> None:
    memory = StepMemory(fixed=100, per_image=10)
    assert (memory.needed(5), memory.largest_batch(150), memory.largest_batch(99)) == (150, 5, 0)


def test_a_trial_holds_the_images_on_the_device_on_which_it_trains(tiny_data: Path) -> None:
    """As a run does: they are a part of its memory."""
    config = small_config(tiny_data)
    subject = Subject(config, DataFolder(tiny_data).info(), make_split(config), CustomParts())
    trial = Trial(subject, device=torch.device("meta"))
    images, labels = next(iter(trial._data.val_dataloader()))
    assert images.device.type == labels.device.type == "meta"


PROGRAM = """
import sys
from pathlib import Path
import torch
from small_runs import small_config
from cifar100.data.folder.layout import DataFolder
from cifar100.process.memory import peak_memory, reset_peak, resident_memory, return_freed_memory
from cifar100.training.cost.step_memory import measure_step_memory
from cifar100.training.cost.trial import Subject, Trial
from cifar100.training.experiment import make_split
from cifar100.training.preflight.custom_parts import CustomParts

config = small_config(Path(sys.argv[1]), **{"model.widths": [64, 64, 64]})
subject = Subject(config, DataFolder(Path(sys.argv[1])).info(), make_split(config), CustomParts())
device = torch.device("cpu")
blocks = [torch.ones(2**13) for _ in range(int(sys.argv[2]))]
kept = blocks[-1:]  # so that the blocks before it stay in the heap when they are freed
del blocks
if sys.argv[3] == "measure":
    print(measure_step_memory(subject, device, largest=128).needed(400))
else:
    return_freed_memory()
    before = resident_memory()
    reset_peak()
    trial = Trial(subject.with_batch_size(400), device=device)
    trial.step()
    trial.step()
    print(peak_memory() - before)
"""
"""Prints the memory of a step of 400 images: from the line through smaller ones, or from such a step."""


def bytes_of_a_step(tiny_data: Path, how: str, *, freed_blocks: int = 0) -> float:
    """Run the program in a process: what others have freed there would count. freed_blocks: of 32 KiB."""
    paths = os.pathsep.join([str(Path(__file__).parents[2] / "support"), *sys.path])
    command = [sys.executable, "-c", PROGRAM, str(tiny_data), str(freed_blocks), how]
    return float(subprocess.check_output(command, env={**os.environ, "PYTHONPATH": paths}, text=True))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures through /proc")
def test_a_larger_step_takes_what_the_line_says_whatever_the_process_has_freed(tiny_data: Path) -> None:
    taken = bytes_of_a_step(tiny_data, "take")
    for freed_blocks in (0, 2**14):
        estimated = bytes_of_a_step(tiny_data, "measure", freed_blocks=freed_blocks)
        assert USABLE["cpu"] * taken <= estimated <= 2 * taken


def test_a_device_whose_memory_cannot_be_measured_is_one_line(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cifar100.training.cost import step_memory

    monkeypatch.setattr(step_memory, "resident_memory", lambda: None)
    config = small_config(tiny_data)
    subject = Subject(config, DataFolder(tiny_data).info(), make_split(config), CustomParts())
    with pytest.raises(
        UserError, match=r"only on CUDA and on Linux, not here \(cpu\); set --data.batch_size to a number"
    ):
        measure_step_memory(subject, torch.device("cpu"), largest=32)
