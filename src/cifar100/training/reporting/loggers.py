"""The loggers, by name. To add one, write a function here that returns a Lightning logger:

    @logger("jsonl")
    def jsonl(run: RunFolder, first_step: int | None) -> Logger:

It is called on every rank, so a logger that writes files must do so on rank 0 only (`rank_zero_only`). Keyword-only
arguments become settings, here of `training`. A logger with a server is a `Tracker`, which never blocks training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from numpy.typing import NDArray
from torch import nn

from cifar100.config import Config, TrainingConfig, get
from cifar100.config.declarations import components
from cifar100.config.settings_file import setting_names
from cifar100.environment import describe_origin
from cifar100.errors import UserError
from cifar100.foreign_text import reason
from cifar100.process.started import how_to_install
from cifar100.runs.folder import RunFolder
from cifar100.terminal import warn
from cifar100.training.reporting.silence import quiet
from cifar100.training.reporting.tracking.mlflow_service import MLflowService
from cifar100.training.reporting.tracking.tracker import Ending, Tracker
from cifar100.training.reporting.tracking.wandb_service import WandbService

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


@logger("wandb")
def wandb(run: RunFolder, first_step: int | None, *, wandb_project: str = "cifar100") -> Logger:
    """Return a logger for Weights & Biases, offline without a login; a resumed run continues its run there.

    Args:
        run: see `logger`.
        first_step: see `logger`.
        wandb_project: Project of Weights & Biases.
    """
    return Tracker("W&B", WandbService(run, project=wandb_project), describe_origin)


@logger("mlflow")
def mlflow(
    run: RunFolder, first_step: int | None, *, mlflow_uri: str | None = None, mlflow_experiment: str = "cifar100"
) -> Logger:
    """Return a logger for MLflow; a resumed run continues its run there.

    Args:
        run: see `logger`.
        first_step: see `logger`.
        mlflow_uri: Address of the MLflow tracking server or store. null is the environment variable
            MLFLOW_TRACKING_URI, else the database mlflow.db in the working directory.
        mlflow_experiment: Experiment of MLflow to which the run belongs.
    """
    return Tracker("MLflow", MLflowService(run, uri=mlflow_uri, experiment=mlflow_experiment), describe_origin)


EXTRAS = {"wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""Modules that a logger needs, of the extra of the same name."""


def check_loggers(config: TrainingConfig) -> None:
    """Check that the packages of the chosen loggers are installed.

    Raises:
        UserError: one is missing; says how to install it.
    """
    for name in config.loggers:
        for module in EXTRAS.get(name, ()):
            if find_spec(module) is None:
                raise UserError(
                    f"--training.loggers names {name}, but the package {module} is not installed; install it: "
                    f"{how_to_install(name)}, or leave out this logger."
                )


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

    METHODS = (
        *("log_metrics", "log_hyperparams", "log_graph", "save", "after_save_checkpoint", "finalize"),
        *("log_settings", "log_figures", "log_files", "conclude"),  # of a Tracker
    )

    def __init__(self, logger: Logger, run: RunFolder) -> None:
        self.logger = logger
        self.run = run
        self.is_alive = True
        for name in filter(partial(hasattr, logger), self.METHODS):
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
                    name = getattr(self.logger, "title", type(self.logger).__name__)
                    warn(f"{name} failed ({_reason(error)}); the run continues without it.")

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
                warn(f"the graph of the network was not written to TensorBoard ({_reason(error)}).")
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
                warn(f"the picture {name} was not written to TensorBoard ({_reason(error)}).")


def log_hyperparameters(loggers: Sequence[Logger], config: Config, best_accuracy: float | None) -> None:
    """Log the settings, and for TensorBoard's comparison of runs the best validation accuracy, 0 to 1."""
    plain = _plain(config)
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(plain, {} if best_accuracy is None else {"best/val_accuracy": best_accuracy})
        else:
            logger.log_hyperparams(plain)


def log_settings(loggers: Sequence[Logger], config: Config) -> None:
    """Log the settings to the trackers, which show them while the run trains."""
    for logger in trackers(loggers):
        logger.log_settings(_plain(config))


def conclude(
    loggers: Sequence[Logger],
    ending: Ending,
    *,
    figures: Mapping[str, float] | None = None,
    files: Callable[[], Sequence[Path]] = tuple,
) -> None:
    """End the runs in the trackers.

    Args:
        loggers: all loggers of the run.
        ending: how the training ended.
        figures: final figures of a finished run.
        files: returns files to keep; called only if there is a tracker.
    """
    found = trackers(loggers)
    kept = files() if found else ()
    for logger in found:
        if figures:
            logger.log_figures(figures)
        if kept:
            logger.log_files(kept)
        logger.conclude(ending)


def trackers(loggers: Sequence[Logger]) -> list[Tracker]:
    """Return the loggers that talk to a server."""
    return [logger for logger in loggers if isinstance(logger, Tracker)]


def _plain(config: Config) -> dict[str, bool | int | float | str]:
    values = {name: get(config, name) for name in setting_names()}
    return {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in values.items()}
