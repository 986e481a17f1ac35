"""The callbacks of a run, in the order in which Lightning calls them."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.callbacks import Callback, LearningRateMonitor

from cifar100.process.stopping import StopSignal
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
from cifar100.training.experiment import Experiment
from cifar100.training.optimization.ema import AveragedWeights, WeightAveraging
from cifar100.training.recovery.saving import StateSaver
from cifar100.training.reporting.epoch_recorder import EpochRecorder
from cifar100.training.reporting.pictures import FirstBatch
from cifar100.training.reporting.progress_bar import EpochProgress
from cifar100.training.reporting.run_log import RunLog
from cifar100.training.reporting.step_losses import StepLosses
from cifar100.training.trainer import StopAtTheEnd


def build_callbacks(
    run: RunFolder,
    experiment: Experiment,
    history: History,
    run_log: RunLog,
    signal: StopSignal,
    custom: Sequence[Callback],
    *,
    first_batch: FirstBatch,
    has_loggers: bool,
    profiling: Sequence[Callback] = (),
) -> list[Callback]:
    """Return the callbacks of a run. Lightning moves the one that saves to the end, after `custom`.

    Args:
        run: its folder.
        experiment: its parts.
        history: records the epochs.
        run_log: receives a line for each epoch.
        signal: ends the run.
        custom: callbacks of a Python caller.
        first_batch: keeps images for their picture; after `custom`, which may change them.
        has_loggers: whether the learning rate and the losses of steps can be logged.
        profiling: callbacks of `training.profile`.
    """
    settings, module = experiment.config.optimization, experiment.module
    logged: list[Callback] = [LearningRateMonitor(logging_interval="step"), StepLosses()] if has_loggers else []
    averaging: list[Callback] = []
    if settings.ema_decay is not None:
        averaging = [
            WeightAveraging(
                AveragedWeights(module.network),
                experiment.clock,
                decay=settings.ema_decay,
                final_decay=settings.ema_final_decay,
                start=settings.ema_start,
            )
        ]
    return [
        StopAtTheEnd(experiment.clock),
        *averaging,
        EpochRecorder(history, run_log, experiment.clock, train_metrics=module.train_metrics),
        EpochProgress(run_log.console, metrics=module.train_sums.means),
        *logged,
        *custom,
        *profiling,
        first_batch,
        StateSaver(run, experiment.config, history=history, signal=signal),
    ]
