"""Build Lightning's Trainer: device, precision and end of the run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler

from cifar100.config import TrainingConfig
from cifar100.devices import choose_accelerator, choose_precision
from cifar100.training.distributed.joining import cluster_environment
from cifar100.training.optimization.clock import RunClock
from cifar100.training.recovery.checkpoint_io import SafeCheckpointIO
from cifar100.training.reporting.silence import quiet

LOG_EVERY_STEPS = 20
"""Steps between two values of the learning rate in the loggers."""

LOOK_EVERY_STEPS = 20
"""Steps between two looks at the losses on a GPU, and between two agreements of several processes on the time, to save
or to stop. These are synchronisation points. A single process on a CPU looks after every step."""


def build_trainer(
    config: TrainingConfig,
    folder: Path,
    *,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger] = (),
    validate: bool = True,
    distributed_sampler: bool = False,
    profiler: Profiler | None = None,
) -> L.Trainer:
    """Build a Trainer that shows and logs only through `callbacks` and `loggers`.

    Args:
        config: device, precision and length.
        folder: where Lightning may write its own files.
        callbacks: in this order; Lightning moves those that save checkpoints to the end.
        loggers: receive the metrics.
        validate: whether to run validation.
        distributed_sampler: whether Lightning distributes the images of a loader over the processes. Our own loaders
            do so themselves.
        profiler: receives the beginning and the end of everything that Lightning does.

    Raises:
        UserError: the device or the precision is not available.
    """
    accelerator = choose_accelerator(config.accelerator)
    precision = choose_precision(config.precision, accelerator)
    with quiet():
        return L.Trainer(
            accelerator=accelerator,
            devices=config.processes_here,
            num_nodes=config.num_nodes,
            strategy="ddp" if config.num_processes > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]  # checked by choose_precision
            max_epochs=-1 if config.max_epochs is None else math.ceil(config.max_epochs),
            limit_train_batches=config.limit_train_batches,
            limit_val_batches=config.limit_val_batches if validate else 0,
            check_val_every_n_epoch=config.validate_every,
            num_sanity_val_steps=0,
            log_every_n_steps=LOG_EVERY_STEPS,
            callbacks=list(callbacks),
            logger=list(loggers) or False,
            profiler=profiler,
            plugins=[SafeCheckpointIO(), cluster_environment()],
            default_root_dir=folder,
            deterministic=config.deterministic,
            benchmark=accelerator == "cuda" and not config.deterministic,
            use_distributed_sampler=distributed_sampler,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(callback, L.pytorch.callbacks.Checkpoint) for callback in callbacks),
        )


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise the `KeyboardInterrupt` again that Lightning's `Trainer.fit` turns into `sys.exit(1)`."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def callbacks_of(trainer: L.Trainer) -> list[Callback]:
    """Return the callbacks of a Trainer, which sets this attribute without declaring it."""
    callbacks: list[Callback] = getattr(trainer, "callbacks")  # noqa: B009
    return callbacks


class StepLearningRate(Callback):
    """Notes the learning rate of each step: after the step, the optimizer holds that of the next one.

    It is the rate that follows from `optimization.learning_rate`. Muon has another one for the convolutions, and with
    `layer_decay` the first group is the classifier, which has the whole rate.
    """

    learning_rate = math.nan

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rate of this step."""
        groups = trainer.optimizers[0].param_groups
        chosen = next((group for group in groups if not group.get("orthogonal", False)), groups[0])
        self.learning_rate = float(chosen["lr"])


class StopAtTheEnd(Callback):
    """Ends a run when its clock says so, also mid-epoch; that epoch is validated and saved."""

    def __init__(self, clock: RunClock) -> None:
        self.clock = clock

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask Lightning to stop after the last step."""
        if self.clock.is_over:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # whatever `training.validate_every` is
