"""The story of one run, from the settings to the best checkpoint."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGINT
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from cifar100.config import Config, get
from cifar100.config_check import check
from cifar100.data.folder.layout import DatasetInfo, write_info
from cifar100.data.folder.splits import Split, load_split, save_split
from cifar100.data.prepare import ensure_prepared
from cifar100.devices import check_device, choose_accelerator
from cifar100.environment import this_program
from cifar100.errors import Diverged, Stopped, UserError
from cifar100.models.summary import model_table
from cifar100.runs.checkpoints import has_saved_state, open_checkpoint, read_checkpoint
from cifar100.runs.folder import RunFolder, create_run_folder, find_run_folder
from cifar100.runs.history import History
from cifar100.runs.status import occupied
from cifar100.settings import setting_names, write_config
from cifar100.training.experiment import Experiment, assemble, make_split
from cifar100.training.launcher import in_every_process
from cifar100.training.lr_finder import LearningRateSuggestion, range_test, save_suggestion
from cifar100.training.optimization.distillation import remember_teacher
from cifar100.training.optimization.ema import AveragedWeights, WeightAveraging
from cifar100.training.processes import Processes, join_processes
from cifar100.training.recovery.resuming import changed_config, check_data_and_length, requeued_run
from cifar100.training.recovery.saving import OWN_STATE, StateSaver, StopTraining
from cifar100.training.recovery.signals import StopSignal
from cifar100.training.reporting.announcements import announce_result, announce_run
from cifar100.training.reporting.epoch_recorder import EpochRecorder
from cifar100.training.reporting.progress_bar import EpochProgress
from cifar100.training.reporting.run_log import RunLog, remove_epochs_after
from cifar100.training.reporting.silence import quiet
from cifar100.training.trainer import StopAtTheEnd, build_trainer

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No space left, quota exceeded, read-only file system."""


@in_every_process
def start_run(config: Config, *, experiment: str | None = None, started: float | None = None) -> RunFolder:
    """Train from the beginning, in a new run folder.

    started: `time.monotonic()` when the command began, from which `training.max_minutes` counts; None is now.

    Raises:
        UserError: the data, the device or the run folder is not as it must be.
    """
    requeued = requeued_run()
    if requeued is not None:  # SLURM has started the same command again
        return resume_run(requeued)
    started = time.monotonic() if started is None else started
    with _processes(config) as processes, StopSignal() as signal:
        info = _prepared(config, processes)
        split = make_split(config)
        if config.optimization.teacher is not None:
            find_run_folder(config.optimization.teacher)  # a mistyped name shall not leave a run folder behind
        run = processes.do_once(lambda: create_run_folder(experiment))
        with _occupied(run, processes), _full_disk_said_plainly(run):
            if processes.is_rank_zero:
                save_split(split, run.split)
                write_info(info, run.dataset_info)
                _write_config(config, run, info)
            _begin(run, config, info, split, processes, signal, started=started)
    return run


def resume_run(run: RunFolder, *, changes: Mapping[str, Any] | None = None) -> RunFolder:
    """Go on with a run from the last state that it saved, or from its beginning if it saved none.

    changes: settings by name that shall be others from now on; see `resuming.CHANGEABLE`.

    Raises:
        UserError: the run has come to its end, its data are no longer what they were, another process is at work on it,
            or a setting cannot be changed in the midst of a run.
    """
    return _resume(changed_config(run, changes or {}), run, changed=bool(changes))


@in_every_process
def _resume(config: Config, run: RunFolder, *, changed: bool) -> RunFolder:
    with _processes(config) as processes, StopSignal() as signal:
        info = _prepared(config, processes)
        processes.do_once(lambda: check_data_and_length(run, config, info))
        split = load_split(run.split)
        with _occupied(run, processes), _full_disk_said_plainly(run):
            checkpoint = processes.do_once(lambda: _newest_state(run))
            if processes.is_rank_zero and changed:
                _write_config(config, run, info)
            if checkpoint is None:
                _begin(run, config, info, split, processes, signal)
            else:
                _fit(run, assemble(config, info, split), processes, signal, checkpoint=checkpoint)
    return run


@in_every_process
def find_learning_rate(config: Config, *, experiment: str | None = None) -> LearningRateSuggestion:
    """Run the range test alone; it leaves `lr_finder.png` and `lr_finder.json` in a new run folder."""
    check(replace(config, optimization=replace(config.optimization, learning_rate="auto")))
    with _processes(config) as processes:
        info = _prepared(config, processes)
        split = make_split(config)
        run = processes.do_once(lambda: create_run_folder(experiment))
        with _occupied(run, processes), _full_disk_said_plainly(run):
            suggestion = _suggest_learning_rate(config, info, split, run, processes)
        if processes.is_rank_zero:
            print(f"plot: {run.lr_finder_plot}")
            print(f"use:  {this_program()} train --optimization.learning_rate {suggestion.learning_rate:.3g}")
            print("      together with the options given here")
    return suggestion


def _begin(
    run: RunFolder,
    config: Config,
    info: DatasetInfo,
    split: Split,
    processes: Processes,
    signal: StopSignal,
    *,
    started: float | None = None,
) -> None:
    """Train from the first step."""
    if config.optimization.learning_rate == "auto":
        found = _suggest_learning_rate(config, info, split, run, processes)
        config = replace(config, optimization=replace(config.optimization, learning_rate=found.learning_rate))
        if processes.is_rank_zero:
            _write_config(config, run, info)
    _fit(run, assemble(config, info, split, started=started), processes, signal)


def _fit(
    run: RunFolder,
    experiment: Experiment,
    processes: Processes,
    signal: StopSignal,
    *,
    checkpoint: Path | None = None,
) -> None:
    """Train under Lightning, and say how it went."""
    started = time.monotonic()
    teacher = experiment.module.teacher
    if teacher is not None:
        processes.do_once(lambda: remember_teacher(teacher, run.teacher))
    state = read_checkpoint(checkpoint) if checkpoint is not None else {}
    finished_epochs = state[OWN_STATE]["finished_epochs"] if state else 0
    if processes.is_rank_zero and run.training_log.is_file():
        remove_epochs_after(run.training_log, finished_epochs)
    run_log = RunLog(run.training_log, enabled=processes.is_rank_zero)
    history = History(run.metrics, {"recipe": experiment.config.recipe, "data": experiment.info.describe()})
    # Of what a killed run has logged after its last save, TensorBoard shows nothing: it is done again.
    purge_step: dict[str, Any] = {"purge_step": int(state["global_step"])} if state else {}
    logger = TensorBoardLogger(run.path, name=run.tensorboard.name, version="", default_hp_metric=False, **purge_step)
    callbacks = _callbacks(run, experiment, history, run_log, signal)
    trainer = build_trainer(experiment.config.training, run.path, callbacks=callbacks, logger=logger)
    go_on = f"{this_program()} train --resume {run.name}"
    try:
        announce_run(run, experiment, trainer, run_log)
        if state:
            run_log.tell(f"resumed  after step {state['global_step']:,}, in epoch {finished_epochs + 1}")
        elif processes.is_rank_zero:
            _describe_network(run, experiment.module.network, logger)
        if experiment.config.training.compile != "none":
            experiment.module.network.compile(mode=experiment.config.training.compile)  # in place: weights keep names
        with quiet():
            trainer.fit(experiment.module, datamodule=experiment.data, ckpt_path=checkpoint, weights_only=True)
        if processes.is_rank_zero:
            history.finish()
            logger.log_hyperparams(_hyperparameters(experiment.config), _final_metrics(history))
            announce_result(run, history, run_log, seconds=time.monotonic() - started)
    except StopTraining:
        run_log.write(f"stopped after step {trainer.global_step:,}, saved")
        message = f"Saved after step {trainer.global_step:,}. {signal.message(go_on)}"
        raise Stopped(message, signal.received or SIGINT) from None
    except Diverged as error:
        run_log.write(str(error))
        raise
    except SystemExit as error:  # Lightning makes one of a second Ctrl-C
        run_log.write(f"interrupted after {len(history.epochs)} epochs")
        status = getattr(error.__context__, "exit_status", 128 + SIGINT)
        raise Stopped(f"Resume with: {go_on}", status - 128) from error
    finally:
        run_log.close()
        logger.finalize("success")


@contextmanager
def _full_disk_said_plainly(run: RunFolder) -> Iterator[None]:
    """Turn a disk that is full or read-only into a `UserError`; other failures keep their traceback.

    TensorBoard writes in a thread of its own: what fails there is raised here too, so that its report is left out.
    """
    report = threading.excepthook

    def report_others(failure: threading.ExceptHookArgs) -> None:
        if getattr(failure.exc_value, "errno", None) not in DISK_ERRORS:
            report(failure)

    threading.excepthook = report_others
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        go_on = f"{this_program()} train --resume {run.name}"
        raise UserError(f"{run.path} cannot be written ({error.strerror}); make room, then: {go_on}") from error
    finally:
        threading.excepthook = report


def _callbacks(
    run: RunFolder, experiment: Experiment, history: History, run_log: RunLog, signal: StopSignal
) -> list[Callback]:
    settings = experiment.config.optimization
    averaging: list[Callback] = []
    if settings.ema_decay is not None:
        averaging = [
            WeightAveraging(
                AveragedWeights(experiment.module.network),
                experiment.clock,
                decay=settings.ema_decay,
                final_decay=settings.ema_final_decay,
                start=settings.ema_start,
            )
        ]
    return [
        StopAtTheEnd(experiment.clock),
        *averaging,
        EpochRecorder(history, run_log, experiment.clock, images_per_step=experiment.images_per_step),
        EpochProgress(run_log.console),
        LearningRateMonitor(logging_interval="step"),
        StateSaver(run, experiment.config, history=history, signal=signal),
    ]


def _write_config(config: Config, run: RunFolder, info: DatasetInfo) -> None:
    write_config(config, run.config, comment=f"{info.describe()}. Repeat: cifar100 train --config {run.config}")


def _newest_state(run: RunFolder) -> Path | None:
    """Return the newest checkpoint from which the run can go on; None where it has saved nothing."""
    if not has_saved_state(run):
        return None
    path, _ = open_checkpoint(run, "last", tell=lambda line: print(line, file=sys.stderr))
    return path


def _suggest_learning_rate(
    config: Config, info: DatasetInfo, split: Split, run: RunFolder, processes: Processes
) -> LearningRateSuggestion:
    """Range test on a network of its own, so that nothing of it can reach the training."""
    some_rate = replace(config.optimization, learning_rate=1.0)  # the test sets its own
    experiment = assemble(replace(config, optimization=some_rate), info, split)
    trainer = build_trainer(replace(config.training, max_epochs=1000), run.path, callbacks=[])
    suggestion = range_test(trainer, experiment.module, experiment.data)
    if processes.is_rank_zero:
        save_suggestion(suggestion, run)
        print(f"learning-rate finder: {suggestion.learning_rate:.3g}")
    return suggestion


def _describe_network(run: RunFolder, network: nn.Module, logger: TensorBoardLogger) -> None:
    """Write `model_info.txt`, and the network's graph for TensorBoard."""
    run.model_info.write_text(model_table(network) + "\n", encoding="utf-8")
    was_training = network.training
    with torch.no_grad(), quiet():
        logger.experiment.add_graph(network.eval(), torch.zeros(1, 3, 32, 32))
    network.train(was_training)


def _hyperparameters(config: Config) -> dict[str, Any]:
    values = {name: get(config, name) for name in setting_names()}
    return {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in values.items()}


def _final_metrics(history: History) -> dict[str, float]:
    best = history.best()
    return {"best/val_accuracy": best["val/accuracy"]} if best else {}


@contextmanager
def _processes(config: Config) -> Iterator[Processes]:
    """Start the processes; a missing device is refused before anything slow starts."""
    check_device(config.training)
    accelerator = choose_accelerator(config.training.accelerator)
    with join_processes(config.training, accelerator=accelerator) as processes:
        yield processes


def _prepared(config: Config, processes: Processes) -> DatasetInfo:
    return processes.do_once_on_each_machine(lambda: ensure_prepared(config.data.source, config.data.root))


@contextmanager
def _occupied(run: RunFolder, processes: Processes) -> Iterator[None]:
    """Hold the run's lock in the first process."""
    with ExitStack() as stack:
        processes.do_once(lambda: stack.enter_context(occupied(run)))
        yield
