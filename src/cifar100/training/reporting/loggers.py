"""The loggers by name. To add one, write a function here that returns a Lightning logger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import nn

from cifar100.config import Config, get
from cifar100.config.declarations import components
from cifar100.runs.folder import RunFolder
from cifar100.settings import setting_names
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


def build_loggers(names: Sequence[str], run: RunFolder, *, first_step: int | None) -> list[Logger]:
    """Return the loggers that `training.loggers` names."""
    known = components("training/reporting/loggers.py", "logger")
    return [known[name].load()(run, first_step) for name in names]


def log_graph(loggers: Sequence[Logger], network: nn.Module, image_shape: Sequence[int]) -> None:
    """Log the graph of the network to TensorBoard; the network is left unchanged."""
    was_training = network.training
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            with torch.no_grad(), quiet():
                logger.experiment.add_graph(network.eval(), torch.zeros(1, *image_shape))
    network.train(was_training)


def log_hyperparameters(loggers: Sequence[Logger], config: Config, best_accuracy: float | None) -> None:
    """Log the settings, and for TensorBoard's comparison of runs the best validation accuracy, 0 to 1."""
    values = {name: get(config, name) for name in setting_names()}
    plain = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in values.items()}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(plain, {} if best_accuracy is None else {"best/val_accuracy": best_accuracy})
        else:
            logger.log_hyperparams(plain)
