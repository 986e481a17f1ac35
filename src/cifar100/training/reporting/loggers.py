"""The loggers, by name. To add one, write a function here that returns a Lightning logger:

    @logger("jsonl")
    def jsonl(run: RunFolder, first_step: int | None) -> Logger:

It is called on every rank, so a logger that writes files must do so on rank 0 only (`rank_zero_only`). Keyword-only
arguments become settings, here of `training`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from numpy.typing import NDArray
from torch import nn

from cifar100.config import Config, TrainingConfig, get
from cifar100.config.declarations import components
from cifar100.config.settings_file import setting_names
from cifar100.foreign_text import reason
from cifar100.runs.folder import RunFolder
from cifar100.terminal import warn
from cifar100.training.reporting.silence import quiet

Function = TypeVar("Function", bound=Callable[..., Logger])


def logger(name: str) -> Callable[[Function], Function]:
    """Register a function (run, first_step) -> logger under a name of `training.loggers`.

    run: its folder, in which the logger may write.
    first_step: the optimizer step that a resumed run starts from, else None; later steps are repeated.
    """
    return lambda function: function


@logger("tensorboard")
def tensorboard(run: RunFolder, first_step: int | None) -> Logger:
    """Return a logger for TensorBoard, in `lightning_logs/`; it hides what a killed run logged after its last save."""
    purge: dict[str, Any] = {} if first_step is None else {"purge_step": first_step}
    return TensorBoardLogger(run.path, name=run.tensorboard.name, version="", default_hp_metric=False, **purge)


@logger("csv")
def csv(run: RunFolder, first_step: int | None) -> Logger:
    """Return a logger that writes `csv_logs/version_<N>/metrics.csv`, a new version for each resumption."""
    return CSVLogger(run.path, name="csv_logs")


def build_loggers(config: TrainingConfig, run: RunFolder, *, first_step: int | None) -> list[Logger]:
    """Return the loggers that `training.loggers` names, with their settings."""
    known = components("training/reporting/loggers.py", "logger")
    loggers = []
    for name in config.loggers:
        own = {setting.name: getattr(config, setting.name) for setting in known[name].settings}
        loggers.append(known[name].load()(run, first_step, **own))
    return loggers


def without_failures(loggers: Sequence[Logger], run: RunFolder) -> list[Logger]:
    """Keep loggers from ending the run, in place: a first failure becomes one line, and later calls do nothing.

    A disk that is full or a server that does not answer is no reason to lose the training. A logger that fails when it
    is opened is left out of the result. If the run folder is gone, the run says so itself.
    """
    return [logger for logger in loggers if _Guard(logger, run).opens()]


class _Guard:
    """Guards the methods of one logger."""

    METHODS = ("log_metrics", "log_hyperparams", "log_graph", "save", "after_save_checkpoint", "finalize")

    def __init__(self, logger: Logger, run: RunFolder) -> None:
        self.logger = logger
        self.run = run
        self.is_alive = True
        for name in self.METHODS:
            setattr(logger, name, self._guarded(getattr(logger, name)))

    def opens(self) -> bool:
        """Open the logger's file or connection, as Lightning does before the first call."""
        self._guarded(lambda: getattr(self.logger, "experiment", None))()
        return self.is_alive

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            if not self.is_alive:
                return None
            try:
                return method(*arguments, **options)
            except Exception as error:  # a logger may raise anything
                self.is_alive = False
                if self.run.path.is_dir():
                    warn(f"{type(self.logger).__name__} has failed ({_reason(error)}); the run continues without it.")

        return call


def _reason(error: Exception) -> str:
    first: BaseException = error
    while first.__cause__ is not None:  # Lightning explains a full disk as a value that cannot be logged
        first = first.__cause__
    return reason(first)


def log_graph(loggers: Sequence[Logger], network: nn.Module, image_shape: Sequence[int]) -> None:
    """Log the graph of the network to TensorBoard; the network is left unchanged."""
    modes = [(module, module.training) for module in network.modules()]  # frozen layers differ from the others
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            try:
                with torch.no_grad(), quiet():
                    logger.experiment.add_graph(network.eval(), torch.zeros(1, *image_shape))
            except Exception as error:  # torch cannot trace every network, and the disk may be full
                warn(f"TensorBoard gets no graph of the network ({_reason(error)}).")
    for module, is_training in modes:
        module.training = is_training


def log_image(loggers: Sequence[Logger], name: str, pixels: NDArray[np.uint8], *, step: int) -> None:
    """Log a picture, (height, width, 3), to TensorBoard."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            try:
                logger.experiment.add_image(name, pixels, step, dataformats="HWC")
                logger.experiment.flush()
            except Exception as error:  # its writer raises in the main thread what failed in its own
                warn(f"TensorBoard gets no picture {name} ({_reason(error)}).")


def log_hyperparameters(loggers: Sequence[Logger], config: Config, best_accuracy: float | None) -> None:
    """Log the settings, and for TensorBoard's comparison of runs the best validation accuracy, 0 to 1."""
    values = {name: get(config, name) for name in setting_names()}
    plain = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in values.items()}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(plain, {} if best_accuracy is None else {"best/val_accuracy": best_accuracy})
        else:
            logger.log_hyperparams(plain)
