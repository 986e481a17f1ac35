"""Choose the device and the precision of a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch.nn import functional as F

from cifar100.config import Config, TrainingConfig
from cifar100.errors import UserError
from cifar100.process.launchers import launcher
from cifar100.process.processors import has_bf16_instructions, usable_processors
from cifar100.terminal import warn

MIN_IMAGES_OF_A_PROCESS = 64
"""Fewest images of a step that `training.devices auto` gives to a process: batch normalisation needs them."""


@dataclass(frozen=True)
class Accelerator:
    """A kind of device."""

    count: Callable[[], int]
    """Return the number of devices on this machine."""

    name: Callable[[int], str]
    """Return the product name of a device."""


ACCELERATORS: dict[str, Accelerator] = {
    "cuda": Accelerator(
        lambda: torch.cuda.device_count() if torch.cuda.is_available() else 0,
        lambda index: torch.cuda.get_device_name(index),
    ),
    "mps": Accelerator(lambda: int(torch.backends.mps.is_available()), lambda index: "Apple silicon"),
}
"""torch's name of a device type -> accelerator, in the order in which `auto` prefers them. The CPU follows last."""


def choose_accelerator(wanted: str) -> str:
    """Return `cuda`, `mps` or `cpu`; `auto` selects the first that is present and works.

    Raises:
        UserError: the wanted device is missing, or its first operation fails.
    """
    present = [*(name for name, accelerator in ACCELERATORS.items() if accelerator.count()), "cpu"]
    if wanted != "auto" and wanted not in present:
        raise UserError(
            f"--training.accelerator is {wanted}, but this machine has only {' and '.join(present)}; use auto."
        )
    for position, name in enumerate(present):
        if wanted not in ("auto", name):
            continue
        problem = find_failure(name)
        if not problem:
            return name
        if wanted != "auto":
            raise UserError(f"--training.accelerator is {wanted}, but its first operation failed ({problem}); use cpu.")
        _warn_once(f"{name} is present, but its first operation failed ({problem}); using {present[position + 1]}.")
    raise AssertionError("the CPU always works")


@cache
def find_failure(accelerator: str) -> str:
    """Return why a convolution and a matrix product fail on an accelerator, in one line; empty if they work.

    Runs once per process and accelerator, on the device of this process: a rank on GPU 3 allocates nothing on GPU 0.
    """
    if accelerator == "cpu":
        return ""
    try:
        local_rank = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
        device = torch.device(accelerator, local_rank % ACCELERATORS[accelerator].count())
        features = F.conv2d(
            torch.ones(1, 3, 4, 4, device=device), torch.ones(2, 3, 3, 3, device=device)
        )  # (1, 2, 2, 2)
        product = features.flatten(1) @ torch.ones(8, 1, device=device)
        result = product.item()  # waits for the device
    except Exception as error:  # drivers and torch raise several kinds
        return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    expected = 8 * 27.0
    return "" if result == expected else f"the result is {result}, expected {expected}"


@cache
def _warn_once(line: str) -> None:
    warn(line)


def choose_precision(wanted: str, accelerator: str) -> str:
    """Return Lightning's name of the precision.

    `auto` is bf16 on CUDA devices that have instructions for it, and not where torch emulates it, as on a T4. On MPS
    bf16 gains nothing. On an idle CPU with AVX-512 BF16 it is up to twice as fast. Its convolutions spin while they
    wait for each other, which makes it more than ten times slower beside any other busy process (docs/results.md).

    Raises:
        UserError: 16-mixed on the CPU, which does not support it.
    """
    if wanted == "auto":
        has_bf16 = accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if has_bf16 else "32-true"
    if wanted == "16-mixed" and accelerator == "cpu":
        raise UserError("--training.precision 16-mixed needs a GPU; on the CPU use 32-true or bf16-mixed.")
    return wanted


def check_device(config: TrainingConfig) -> None:
    """Refuse devices that are missing and a precision that the device does not support.

    Raises:
        UserError: names the setting.
    """
    accelerator = choose_accelerator(config.accelerator)
    precision = choose_precision(config.precision, accelerator)
    if config.compile != "none" and (accelerator, precision) == ("cpu", "bf16-mixed"):
        # The compiled backward pass of torch 2.13 returns gradients that are not finite.
        raise UserError(
            "--training.compile with bf16-mixed does not work on the CPU; use --training.precision 32-true."
        )
    wanted = config.processes_here
    available = ACCELERATORS[accelerator].count() if accelerator in ACCELERATORS else wanted
    if wanted > available:
        found = f"--training.devices is {wanted}, but this machine has {available} ({accelerator})"
        raise UserError(f"{found}; use at most {available}.")


def resolve(config: Config, *, may_start_processes: bool = True) -> Config:
    """Replace `training.devices auto` by a number; then `data.batch_size` and `training.precision` fit it.

    On a CPU, oneDNN's bfloat16 convolutions wait actively for their other threads, which makes them slow beside any
    other work. Processes of one thread each do not have this wait.

    Args:
        config: all settings.
        may_start_processes: False if the run has parts that other processes may not be able to import.
    """
    training, images = config.training, config.data.batch_size
    if training.devices != "auto":
        return config
    number = 1
    if (
        may_start_processes
        and launcher() is None
        and training.num_nodes == 1
        and training.precision in ("auto", "bf16-mixed")
        and has_bf16_instructions()
        and choose_accelerator(training.accelerator) == "cpu"
    ):
        most = usable_processors()
        if images != "auto":
            most = max(1, min(most, images // MIN_IMAGES_OF_A_PROCESS))
            most = max(number for number in range(1, most + 1) if images % number == 0)
        number = most
    precision = "bf16-mixed" if number > 1 else training.precision
    return replace(
        config,
        data=replace(config.data, batch_size=images if images == "auto" else images // number),
        training=replace(training, devices=number, precision=precision),
    )


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
