"""Lightning's Trainer as this project uses it: which device and which precision, and when it stops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from cifar100.config import TrainingConfig
from cifar100.errors import UserError
from cifar100.training.checkpoints import SafeCheckpointIO
from cifar100.training.clock import RunClock
from cifar100.training.processes import cluster_environment
from cifar100.training.silence import quiet

LOG_EVERY_STEPS = 20
"""How often the learning rate goes to TensorBoard."""


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


def build_trainer(
    config: TrainingConfig, folder: Path, *, callbacks: list[Callback], logger: Logger | None = None
) -> L.Trainer:
    """Build a Trainer that shows and logs nothing but what `callbacks` and `logger` do.

    folder: where Lightning may put files of its own.

    Raises:
        UserError: the device or the arithmetic is not there.
    """
    accelerator = choose_accelerator(config.accelerator)
    precision = choose_precision(config.precision, accelerator)
    with quiet():
        return L.Trainer(
            accelerator=accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy="ddp" if config.num_processes > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]  # checked by choose_precision
            max_epochs=-1 if config.max_minutes is not None else math.ceil(config.max_epochs),
            limit_train_batches=config.limit_train_batches,
            limit_val_batches=config.limit_val_batches,
            check_val_every_n_epoch=config.validate_every,
            num_sanity_val_steps=0,
            log_every_n_steps=LOG_EVERY_STEPS,
            callbacks=callbacks,
            logger=logger or False,
            plugins=[SafeCheckpointIO(), cluster_environment()],
            default_root_dir=folder,
            deterministic=config.deterministic,
            benchmark=accelerator == "cuda" and not config.deterministic,
            use_distributed_sampler=False,  # our loaders share the images out themselves
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(callback, L.pytorch.callbacks.Checkpoint) for callback in callbacks),
        )


class StopAtTheEnd(Callback):
    """Ends a run when its clock says so, which may be in the middle of an epoch; that epoch is validated and saved."""

    def __init__(self, clock: RunClock) -> None:
        self.clock = clock

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask Lightning to stop after the last step."""
        if self.clock.is_over:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # whatever `training.validate_every` is
