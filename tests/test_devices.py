"""Devices and arithmetic that are not there are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cifar100.config import TrainingConfig
from cifar100.devices import check_device, choose_accelerator, choose_precision
from cifar100.errors import UserError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"accelerator": "cuda"}, r"--training\.accelerator is cuda, but this machine has only .*cpu; use auto"),
        ({"accelerator": "cuda", "devices": 2}, r"--training\.accelerator is cuda"),
        ({"precision": "16-mixed"}, r"--training\.precision 16-mixed needs a GPU"),
        ({"precision": "bf16-mixed", "compile": "default"}, r"--training\.compile with bf16-mixed does not work"),
    ],
)
def test_what_a_cpu_cannot_do_is_refused(given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        check_device(TrainingConfig(**{"accelerator": "cpu", **given}))


def test_a_cpu_computes_in_32_bits_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_accelerator("auto") == "cpu"
    assert choose_precision("auto", "cpu") == "32-true"
    check_device(TrainingConfig(precision="bf16-mixed"))
    check_device(TrainingConfig(compile="default"))
    check_device(TrainingConfig(devices=4))


def test_a_gpu_with_bf16_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_accelerator("auto") == "cuda"
    assert choose_precision("auto", "cuda") == "bf16-mixed"
    check_device(TrainingConfig(compile="default"))
    with pytest.raises(UserError, match=r"--training\.devices is 2, but this machine has 1 \(cuda\)"):
        check_device(TrainingConfig(devices=2))
