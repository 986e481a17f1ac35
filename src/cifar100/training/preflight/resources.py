"""Refuse what this machine cannot hold: too many processes, and networks and batches beyond its memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cifar100.config import Config
from cifar100.devices import choose_precision
from cifar100.errors import UserError
from cifar100.foreign_text import reason
from cifar100.models import build_model
from cifar100.process.memory import total_memory
from cifar100.process.processors import usable_processors
from cifar100.training.preflight.main_guard import require_main_guard

FEW_PROCESSES = 8
"""This many worker processes or CPU processes are allowed on any machine."""


def check_workers(config: Config) -> None:
    """Refuse many more worker processes than processors: each takes about 50 MB, and the results do not change.

    Raises:
        UserError: names the setting.
        SystemExit: see `require_main_guard`.
    """
    workers, most = config.data.num_workers, max(FEW_PROCESSES, 2 * usable_processors())
    if config.data.pipeline == "images" and workers != 0:
        require_main_guard()
    if isinstance(workers, int) and workers > most:
        raise UserError(
            f"--data.num_workers is {workers}, but this machine has {usable_processors()} processors; use at most "
            f"{most}, or auto."
        )


def check_processes(devices: int) -> None:
    """Refuse many more processes than processors or GPUs, before they are started.

    Raises:
        UserError: names the setting.
    """
    most = max(FEW_PROCESSES, usable_processors(), torch.cuda.device_count())
    if devices > most:
        raise UserError(
            f"--training.devices is {devices}, but this machine has {usable_processors()} processors and "
            f"{torch.cuda.device_count()} GPUs; use at most {most}."
        )


def check_memory(config: Config, num_classes: int, *, num_train: int, accelerator: str) -> None:
    """Refuse a network or a batch that needs more memory than the device has, before it is allocated.

    Counts the parameters with their gradients and optimizer state, and the outputs of the layers, which the backward
    pass needs. Both are lower bounds. If layers are frozen, which need neither, only the parameters count.

    Args:
        config: all settings. Its network is built on the meta device, which has shapes but no values.
        num_classes: width of the logits.
        num_train: number of training images, a maximum of the batch.
        accelerator: `cuda`, `mps` or `cpu`.

    Raises:
        UserError: names the settings.
    """
    available = device_memory(accelerator)
    with torch.device("meta"):
        network = build_model(config.model, num_classes)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    has_frozen = config.model.freeze != "none"
    weights = 4 * parameters * (1 if has_frozen else _copies(config))
    if available is not None and weights > available:
        raise UserError(
            f"--model.name {config.model.name} with these settings has {parameters:,} parameters, which need "
            f"{_gigabytes(weights)} with their gradients and optimizer state, but this machine has "
            f"{_gigabytes(available)} ({accelerator}); choose a smaller network."
        )
    images = min(config.data.images_per_step, num_train)
    side = max(config.training.resolutions or (config.data.side,))
    precision = choose_precision(config.training.precision, accelerator)
    with _naming_the_size(config, side):
        outputs = _outputs(network, side) * images * (2 if precision.endswith("mixed") else 4)
    if has_frozen:
        return
    if available is not None and weights + outputs > available:
        raise UserError(
            f"--data.batch_size {images} needs at least {_gigabytes(weights + outputs)} for the outputs of "
            f"all layers, but this machine has {_gigabytes(available)} ({accelerator}); use a smaller one."
        )


@contextlib.contextmanager
def _naming_the_size(config: Config, side: int) -> Iterator[None]:
    """Turn the failure of a network of timm, which may not take small images, into a `UserError`."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        if not config.model.name.startswith("timm/"):
            raise
        raise UserError(
            f"{config.model.name} does not take images of {side} pixels a side ({reason(error)}); choose another "
            "--data.image_size."
        ) from error


def device_memory(accelerator: str) -> int | None:
    """Return the memory of the device in bytes, within the limit of a container; None if it is unknown."""
    if accelerator == "cuda":
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return total_memory()


def _copies(config: Config) -> int:
    """Return how many numbers of training each parameter needs, itself included."""
    optimization = config.optimization
    state = 2 if optimization.optimizer == "adamw" else int(optimization.momentum > 0)
    return 2 + state + int(optimization.ema_decay is not None) + int(optimization.sam != "none")


def _outputs(network: nn.Module, side: int) -> int:
    """Return the number of outputs of all convolutions and linear layers for one image of side x side pixels."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel()

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(add)
    network.eval()(torch.empty(1, 3, side, side, device="meta"))
    return total


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
