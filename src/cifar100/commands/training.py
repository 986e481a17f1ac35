"""The commands that train: `train`, `find-lr`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from cifar100.commands.loading import loading, starting
from cifar100.config import Config
from cifar100.config.arguments import check_config, check_mapping
from cifar100.errors import UserError
from cifar100.process.launchers import check_launcher
from cifar100.runs.folder import RunFolder, check_name, find_run_folder
from cifar100.settings import load_config

if TYPE_CHECKING:
    from lightning import LightningDataModule
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from cifar100.models import NetworkSource
    from cifar100.training.cost.dry_run import Estimate
    from cifar100.training.loss import Loss
    from cifar100.training.lr_finder.suggestions import RangeTestResult


def find_lr(
    config: Config | None = None,
    *,
    network: NetworkSource | None = None,
    loss: Loss | None = None,
    datamodule: LightningDataModule | None = None,
    experiment: str | None = None,
) -> RangeTestResult:
    """Find a learning rate by a range test.

    Args:
        config: all settings; the default is the recipe `original`.
        network: see `train`; `loss` and `datamodule` are those of `train` as well.
        loss: replaces the one that `config.optimization.loss` names.
        datamodule: replaces the data folder.
        experiment: name of the folder in `logs/`; the default is the next free `experiment<N>`.

    Returns:
        The suggestions, and the loss at each learning rate.

    Raises:
        UserError: a setting or the data cannot be used, or the losses suggest no learning rate.
    """
    check_config(config)
    check_name(experiment)
    check_launcher()
    with loading():
        from cifar100.devices import resolve
        from cifar100.training.preflight.custom_parts import CustomParts
        from cifar100.training.train import find_learning_rate

    parts = CustomParts(network=network, loss=loss, datamodule=datamodule)
    config = resolve(config or load_config(), may_start_processes=not parts.are_given())
    with starting():
        return find_learning_rate(config, experiment=experiment, parts=parts)


def train(
    config: Config | None = None,
    *,
    network: NetworkSource | None = None,
    loss: Loss | None = None,
    datamodule: LightningDataModule | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] | None = None,
    experiment: str | None = None,
    resume: str | PathLike[str] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Train a network and keep the best weights.

    Args:
        config: all settings; the default is the recipe `original`.
        network: replaces the one that `config.model` names: maps images (N, 3, H, W) to logits (N, num_classes). Or a
            function from the number of classes to such a network.
        loss: replaces the one that `config.optimization.loss` names: maps logits (N, num_classes) and labels, int64
            (N,) or float (N, num_classes), to a scalar.
        datamodule: replaces the data folder. Its batches are images, float (N, 3, H, W), and labels, int64 (N,). It has
            an attribute `num_classes`, and may have `class_names`. A run that stops mid-epoch resumes exactly only if
            the training loader has `state_dict` and `load_state_dict`, as torchdata's `StatefulDataLoader` has.
        callbacks: added to the built-in ones.
        loggers: replace those that `config.training.loggers` names.
        experiment: name of the folder in `logs/`; the default is the next free `experiment<N>`.
        resume: an interrupted run; it is resumed with its own settings. Give the same network, loss and datamodule as
            at its start.
        changes: with `resume`, new values of settings by name, such as a larger `training.max_epochs`.

    Returns:
        The run folder, which `evaluate`, `predict` and the other functions take.

    Raises:
        UserError: a setting, the data or the run cannot be used; the message says what to do.
    """
    started = time.monotonic()  # before torch is loaded, which counts
    check_config(config)
    check_mapping("changes", changes)
    if resume is None and changes:
        raise UserError("train(changes=...) needs resume; for a new run, put the settings in config.")
    if resume is not None and (config is not None or experiment is not None):
        raise UserError("--resume continues in the run's own folder; leave out --recipe, --config and --experiment.")
    check_name(experiment)
    check_launcher()
    with loading():
        from cifar100.devices import resolve
        from cifar100.results.report.for_trackers import write_tracked_report
        from cifar100.training.preflight.custom_parts import CustomParts
        from cifar100.training.train import resume_run, start_run

    parts = CustomParts(network=network, loss=loss, datamodule=datamodule, callbacks=callbacks, loggers=loggers)
    if resume is None:
        config = resolve(config or load_config(), may_start_processes=not parts.are_given())
        with starting():
            return start_run(
                config, experiment=experiment, started=started, parts=parts, write_report=write_tracked_report
            )
    run = find_run_folder(resume)
    with starting():
        return resume_run(run, changes=changes, parts=parts, write_report=write_tracked_report)


def dry_run(
    config: Config | None = None,
    *,
    network: NetworkSource | None = None,
    loss: Loss | None = None,
    datamodule: LightningDataModule | None = None,
    experiment: str | None = None,
) -> Estimate:
    """Check and build everything that `train` would, measure some steps, and estimate time, memory and disk.

    Leaves nothing behind. The data must be prepared.

    Args:
        config: all settings; the default is the recipe `original`.
        network: see `train`; `loss` and `datamodule` are those of `train` as well.
        loss: replaces the one that `config.optimization.loss` names.
        datamodule: replaces the data folder.
        experiment: name of the folder in `logs/` that `train` would create.

    Returns:
        The estimate: seconds, bytes of memory and of disk.

    Raises:
        UserError: the run could not start; the message says what to do.
    """
    started = time.monotonic()
    check_config(config)
    check_name(experiment)
    check_launcher()
    with loading():
        from cifar100.devices import resolve
        from cifar100.training.cost.dry_run import estimate_run
        from cifar100.training.preflight.custom_parts import CustomParts

    parts = CustomParts(network=network, loss=loss, datamodule=datamodule)
    config = resolve(config or load_config(), may_start_processes=not parts.are_given())
    with starting():
        return estimate_run(config, experiment=experiment, parts=parts, started=started)
