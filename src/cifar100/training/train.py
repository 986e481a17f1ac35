"""The story of one run, from the settings to the best checkpoint."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from cifar100.config import Config, get
from cifar100.config_check import check
from cifar100.data.prepared import DatasetInfo, read_info, write_info
from cifar100.data.preprocessing import ensure_prepared
from cifar100.data.splits import Split, load_split, save_split
from cifar100.environment import this_program
from cifar100.errors import UserError
from cifar100.models.summary import model_table
from cifar100.run_folder import RunFolder, create_run_folder
from cifar100.settings import load_config, setting_names, write_config
from cifar100.training.announcements import announce_result, announce_run
from cifar100.training.checkpoints import checkpoint_callbacks, find_checkpoint
from cifar100.training.experiment import Experiment, assemble, make_split
from cifar100.training.history import History
from cifar100.training.lr_finder import LearningRateSuggestion, range_test, save_suggestion
from cifar100.training.processes import Processes, join_processes
from cifar100.training.progress import EpochProgress
from cifar100.training.silence import quiet
from cifar100.training.text_logging import EpochRecorder, RunLog
from cifar100.training.trainer import StopAtTheEnd, build_trainer, check_device, choose_accelerator

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No space left, quota exceeded, read-only file system."""


def start_run(config: Config, *, experiment: str | None = None, started: float | None = None) -> RunFolder:
    """Train from the beginning, in a new run folder.

    started: `time.monotonic()` when the command began, from which `training.max_minutes` counts; None is now.

    Raises:
        UserError: the data, the device or the run folder is not as it must be.
    """
    started = time.monotonic() if started is None else started
    with _processes(config) as processes:
        info = _prepared(config, processes)
        split = make_split(config)
        run = processes.do_once(lambda: create_run_folder(experiment))
        with _full_disk_said_plainly(run):
            if config.optimization.learning_rate == "auto":
                found = _suggest_learning_rate(config, info, split, run, processes)
                config = replace(config, optimization=replace(config.optimization, learning_rate=found.learning_rate))
            if processes.is_first:
                save_split(split, run.split)
                write_info(info, run.dataset_info)
                comment = f"{info.describe()}. Repeat: cifar100 train --config {run.config}"
                write_config(config, run.config, comment=comment)
            _fit(run, assemble(config, info, split, started=started), processes)
    return run


def resume_run(run: RunFolder) -> RunFolder:
    """Go on with a run after the last epoch that it saved.

    Raises:
        UserError: the run saved nothing yet, has come to its end, or its data are no longer what they were.
    """
    config = load_config(files=[run.config])
    with _processes(config) as processes:
        info = _prepared(config, processes)
        checkpoint = processes.do_once(lambda: _checkpoint_to_resume(run, config, info))
        with _full_disk_said_plainly(run):
            _fit(run, assemble(config, info, load_split(run.split)), processes, checkpoint=checkpoint)
    return run


def find_learning_rate(config: Config, *, experiment: str | None = None) -> LearningRateSuggestion:
    """Run the range test alone; it leaves `lr_finder.png` and `lr_finder.json` in a new run folder."""
    check(replace(config, optimization=replace(config.optimization, learning_rate="auto")))
    with _processes(config) as processes:
        info = _prepared(config, processes)
        split = make_split(config)
        run = processes.do_once(lambda: create_run_folder(experiment))
        with _full_disk_said_plainly(run):
            suggestion = _suggest_learning_rate(config, info, split, run, processes)
        if processes.is_first:
            print(f"plot: {run.lr_finder_plot}")
            print(f"use:  {this_program()} train --optimization.learning_rate {suggestion.learning_rate:.3g}")
            print("      together with the options given here")
    return suggestion


def _fit(run: RunFolder, experiment: Experiment, processes: Processes, *, checkpoint: Path | None = None) -> None:
    """Train under Lightning, and say how it went."""
    started = time.monotonic()
    run_log = RunLog(run.training_log, enabled=processes.is_first)
    history = History(run.metrics, {"recipe": experiment.config.recipe, "data": experiment.info.describe()})
    logger = TensorBoardLogger(run.path, name=run.tensorboard.name, version="", default_hp_metric=False)
    callbacks = _callbacks(run, experiment, history, run_log)
    trainer = build_trainer(experiment.config.training, run.path, callbacks=callbacks, logger=logger)
    try:
        announce_run(run, experiment, trainer, run_log)
        if checkpoint is None and processes.is_first:
            _describe_network(run, experiment.module.network, logger)
        if experiment.config.training.compile != "none":
            experiment.module.network.compile(mode=experiment.config.training.compile)  # in place: weights keep names
        with quiet():
            trainer.fit(experiment.module, datamodule=experiment.data, ckpt_path=checkpoint, weights_only=True)
        if processes.is_first:
            history.finish()
            logger.log_hyperparams(_hyperparameters(experiment.config), _final_metrics(history))
            announce_result(run, history, run_log, seconds=time.monotonic() - started)
    except SystemExit as error:  # Lightning makes one of Ctrl-C, and leaves Ctrl-C switched off
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run_log.write(f"interrupted after {len(history.epochs)} epochs")
        raise KeyboardInterrupt(f"Go on with: {this_program()} train --resume {run.name}") from error
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
        saved = (run.checkpoints / "last.ckpt").is_file()
        go_on = f"go on with: {this_program()} train --resume {run.name}" if saved else "start again"
        raise UserError(f"{run.path} cannot be written ({error.strerror}); make room, then {go_on}") from error
    finally:
        threading.excepthook = report


def _callbacks(run: RunFolder, experiment: Experiment, history: History, run_log: RunLog) -> list[Callback]:
    return [
        StopAtTheEnd(experiment.clock),
        EpochRecorder(history, run_log, experiment.clock, images_per_step=experiment.images_per_step),
        EpochProgress(run_log.console),
        LearningRateMonitor(logging_interval="step"),
        *checkpoint_callbacks(run, has_validation=len(experiment.split.validation) > 0),
    ]


def _suggest_learning_rate(
    config: Config, info: DatasetInfo, split: Split, run: RunFolder, processes: Processes
) -> LearningRateSuggestion:
    """Range test on a network of its own, so that nothing of it can reach the training."""
    some_rate = replace(config.optimization, learning_rate=1.0)  # the test sets its own
    experiment = assemble(replace(config, optimization=some_rate), info, split)
    trainer = build_trainer(replace(config.training, max_epochs=1000), run.path, callbacks=[])
    suggestion = range_test(trainer, experiment.module, experiment.data)
    if processes.is_first:
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


def _checkpoint_to_resume(run: RunFolder, config: Config, info: DatasetInfo) -> Path:
    """Return the last checkpoint, if the run can go on."""
    if info.sha256 != read_info(run.dataset_info).sha256:
        raise UserError(f"{config.data.root} holds other data than {run.path} was trained on; it cannot be resumed.")
    if not (run.checkpoints / "last.ckpt").is_file():
        raise UserError(f"{run.path} saved nothing yet; begin again: cifar100 train --config {run.config}")
    checkpoint = find_checkpoint(run, "last")
    history = History(run.metrics, {})
    if history.finished:
        raise UserError(
            f"{run.path} has finished its {len(history.epochs)} epochs; evaluate it: cifar100 evaluate {run.name}"
        )
    return checkpoint
