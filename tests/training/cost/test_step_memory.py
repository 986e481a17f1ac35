from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from small_runs import small_config

from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.process.memory import peak_memory, reset_peak, resident_memory
from cifar100.training.cost.step_memory import USABLE, StepMemory, measure_step_memory
from cifar100.training.cost.trial import Subject, Trial
from cifar100.training.experiment import make_split
from cifar100.training.preflight.custom_parts import CustomParts


def test_the_line_is_inverted() -> None:
    memory = StepMemory(fixed=100, per_image=10)
    assert (memory.needed(5), memory.largest_batch(150), memory.largest_batch(99)) == (150, 5, 0)


@pytest.mark.slow  # to be run alone: memory that earlier tests have freed hides what a step takes
@pytest.mark.skipif(sys.platform != "linux", reason="measures through /proc")
def test_a_larger_step_takes_what_the_line_says(tiny_data: Path) -> None:
    config = small_config(tiny_data, **{"model.widths": [64, 64, 64]})
    subject = Subject(config, DataFolder(tiny_data).info(), make_split(config), CustomParts())
    device = torch.device("cpu")
    memory = measure_step_memory(subject, device, largest=128)
    before = resident_memory()
    reset_peak()
    trial = Trial(subject.with_batch_size(400), device=device)
    trial.step()
    trial.step()
    after = peak_memory()
    assert before is not None
    assert after is not None
    assert USABLE["cpu"] * (after - before) <= memory.needed(400) <= 2 * (after - before)


def test_a_device_whose_memory_cannot_be_measured_is_one_line(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cifar100.training.cost import step_memory

    monkeypatch.setattr(step_memory, "resident_memory", lambda: None)
    config = small_config(tiny_data)
    subject = Subject(config, DataFolder(tiny_data).info(), make_split(config), CustomParts())
    with pytest.raises(
        UserError, match=r"only on CUDA and on Linux, not here \(cpu\); set --data.batch_size to a number"
    ):
        measure_step_memory(subject, torch.device("cpu"), largest=32)
