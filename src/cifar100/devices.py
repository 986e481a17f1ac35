"""Which device and which precision a command uses."""

from __future__ import annotations

import torch

from cifar100.config import TrainingConfig
from cifar100.errors import UserError


def choose_accelerator(wanted: str) -> str:
    """Return `cuda`, `mps` or `cpu`; `auto` takes the first of them that is there.

    Raises:
        UserError: the wanted device is not there.
    """
    available = [
        name
        for name, is_available in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("cpu", True),
        )
        if is_available
    ]
    if wanted == "auto":
        return available[0]
    if wanted not in available:
        raise UserError(
            f"--training.accelerator is {wanted}, but this machine has only {' and '.join(available)}; use auto."
        )
    return wanted


def choose_precision(wanted: str, accelerator: str) -> str:
    """Return Lightning's name of the arithmetic.

    `auto` is bf16 on CUDA devices that compute in it. On MPS it gains nothing. On a CPU with AVX-512 BF16 it is up to
    twice as quick while the machine is idle, but its convolutions wait actively for each other, and so it is ten and
    more times slower beside any other busy process (docs/results.md).

    Raises:
        UserError: 16-mixed on a device that has no such arithmetic.
    """
    if wanted == "auto":
        return "bf16-mixed" if accelerator == "cuda" and torch.cuda.is_bf16_supported() else "32-true"
    if wanted == "16-mixed" and accelerator == "cpu":
        raise UserError("--training.precision 16-mixed needs a GPU; on the CPU use 32-true or bf16-mixed.")
    return wanted


def check_device(config: TrainingConfig) -> None:
    """Refuse devices or arithmetic that are not there.

    Raises:
        UserError: names the setting.
    """
    accelerator = choose_accelerator(config.accelerator)
    precision = choose_precision(config.precision, accelerator)
    if config.compile != "none" and (accelerator, precision) == ("cpu", "bf16-mixed"):
        # torch 2.13's compiled backward pass gave gradients that are no numbers.
        raise UserError(
            "--training.compile with bf16-mixed does not work on the CPU; use --training.precision 32-true."
        )
    available = {"cuda": torch.cuda.device_count(), "mps": 1}.get(accelerator, config.devices)
    if config.devices > available:
        raise UserError(f"--training.devices is {config.devices}, but this machine has {available} ({accelerator}).")
