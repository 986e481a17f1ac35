"""The story of one run, from the settings to the best checkpoint."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifar100.config import Config
from cifar100.data.folder.layout import DatasetInfo, write_info
from cifar100.data.folder.splits import load_split, save_split
from cifar100.environment import this_program
from cifar100.errors import Diverged, Stopped
from cifar100.files.atomic import write_atomically
from cifar100.models.summary import model_info
from cifar100.process.stopping import StopSignal
from cifar100.runs.checkpoints import (
    OWN_STATE,
    find_checkpoint,
    has_saved_state,
    max_checkpoint_bytes,
    read_checkpoint,
)
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.runs.history import History
from cifar100.runs.status import RUNNING, write_status
from cifar100.settings import write_config
from cifar100.terminal import say, warn
from cifar100.training.callbacks import build_callbacks
from cifar100.training.experiment import Experiment, assemble, make_split
from cifar100.training.launcher import in_every_process
from cifar100.training.lr_finder.find import find_rate
from cifar100.training.lr_finder.suggestions import RangeTestResult, load_result
from cifar100.training.optimization.distillation import remember_teacher
from cifar100.training.preflight.custom_parts import CustomParts
from cifar100.training.preflight.resources import memory_errors_as_user_errors
from cifar100.training.preflight.session import (
    ReportWriter,
    Session,
    check,
    conclude_finished,
    created,
    holding_run,
    joined,
    prepare_data,
)
from cifar100.training.processes import Processes
from cifar100.training.recovery.requeueing import (
    is_of_requeued_job,
    remember_request,
    requeued_run,
    skip_finished,
    slurm_request,
)
from cifar100.training.recovery.resumable import check_resumable
from cifar100.training.recovery.resuming import (
    changed_config,
    check_data_and_length,
    check_parts,
    has_reached,
    refuse_average,
    remember_parts,
    show_changes,
)
from cifar100.training.recovery.saving import StopTraining
from cifar100.training.reporting.announcements import announce_result, announce_run
from cifar100.training.reporting.loggers import (
    build_loggers,
    conclude,
    log_graph,
    log_hyperparameters,
    log_settings,
    without_failures,
)
from cifar100.training.reporting.pictures import Pictures
from cifar100.training.reporting.run_log import RunLog, remove_epochs_after
from cifar100.training.reporting.silence import quiet
from cifar100.training.reporting.tracking.tracker import Ending
from cifar100.training.trainer import build_trainer, interrupts_kept


@in_every_process
def start_run(
    config: Config,
    *,
    experiment: str | None = None,
    started: float | None = None,
    parts: CustomParts | None = None,
    write_report: ReportWriter | None = None,
) -> RunFolder:
    """Train from the beginning, in a new run folder.

    Args:
        config: all settings.
        experiment: name of the folder below `logs/`; None: the next free `experiment<N>`.
        started: `time.monotonic()` at the start of the command, from which `training.max_minutes` counts. None: now.
        parts: custom parts of a Python caller.
        write_report: writes the report that trackers keep; None: they get none.

    Raises:
        UserError: the data, the device or the run folder cannot be used.
    """
    parts = parts or CustomParts()
    started = time.monotonic() if started is None else started
    request = slurm_request("train", config, experiment=experiment, parts=parts.names())
    with joined(config) as (processes, signal):
        requeued = processes.do_once(lambda: requeued_run(request))
        if requeued is not None:  # SLURM has started the same command again
            if not processes.do_once(lambda: skip_finished(requeued)):
                _continue(
                    changed_config(requeued, {}),
                    requeued,
                    processes,
                    signal,
                    parts=parts,
                    write_report=write_report,
                )
            return requeued
        info = parts.describe_data() or prepare_data(config, processes)
        split = processes.do_once(lambda: make_split(config)) if parts.datamodule is None else None
        check(config, info, split, parts)

        def fill(folder: RunFolder, name: str) -> None:
            if split is not None:
                save_split(split, folder.split)
            write_info(info, folder.dataset_info)
            remember_parts(parts.names(), folder)
            remember_request(request, folder)
            write_status(folder, RUNNING)
            _write_config(config, folder, info, name=name)

        with created(experiment, fill, processes, signal) as run:
            session = Session(
                run=run,
                info=info,
                split=split,
                processes=processes,
                signal=signal,
                parts=parts,
                started=started,
                write_report=write_report,
            )
            _begin(session, config)
        conclude_finished(session)
    return run


def resume_run(
    run: RunFolder,
    *,
    changes: Mapping[str, Any] | None = None,
    parts: CustomParts | None = None,
    write_report: ReportWriter | None = None,
) -> RunFolder:
    """Resume a run from the last state that it saved, or from its beginning if it saved none.

    Args:
        run: its folder.
        changes: new values of settings by name; see `resuming.CHANGEABLE`.
        parts: custom parts of a Python caller, the same as at the start of the run.
        write_report: see `start_run`.

    Raises:
        UserError: the run is finished, its data have changed, another process is using it, a setting cannot change
            mid-run, a custom part is missing, or it is an average of runs.
    """
    parts = parts or CustomParts()
    refuse_average(run)
    check_parts(parts.names(), run)
    config = changed_config(run, changes or {})
    if is_of_requeued_job(run) and has_reached(run, config.training) and skip_finished(run):
        return run
    return _resume(config, run, changed=bool(changes), parts=parts, write_report=write_report)


@in_every_process
def _resume(
    config: Config, run: RunFolder, *, changed: bool, parts: CustomParts, write_report: ReportWriter | None
) -> RunFolder:
    with joined(config) as (processes, signal):
        _continue(config, run, processes, signal, changed=changed, parts=parts, write_report=write_report)
    return run


def _continue(
    config: Config,
    run: RunFolder,
    processes: Processes,
    signal: StopSignal,
    *,
    changed: bool = False,
    parts: CustomParts,
    write_report: ReportWriter | None,
) -> None:
    """Train from the last saved state to the end."""
    info = parts.describe_data() or prepare_data(config, processes, resumed=run)
    processes.do_once(lambda: check_data_and_length(run, config, info))
    split = load_split(run.split) if parts.datamodule is None else None
    check(config, info, split, parts)
    with holding_run(run, processes):
        checkpoint = processes.do_once(lambda: _newest_state(run))
        if processes.is_rank_zero:
            show_changes(run, config)
        if processes.is_rank_zero and changed:
            _write_config(config, run, info)
        session = Session(
            run=run,
            info=info,
            split=split,
            processes=processes,
            signal=signal,
            parts=parts,
            write_report=write_report,
        )
        if checkpoint is None:
            _begin(session, config)
        else:
            _fit(session, assemble(config, info, split, parts=parts), checkpoint=checkpoint)
    conclude_finished(session)


@in_every_process
def find_learning_rate(
    config: Config, *, experiment: str | None = None, parts: CustomParts | None = None
) -> RangeTestResult:
    """Run only the range test; write `lr_finder.png` and `lr_finder.json` to a new run folder.

    A requeued SLURM job that has done so returns the earlier result.
    """
    parts = parts or CustomParts()
    request = slurm_request("find-lr", config, experiment=experiment, parts=parts.names())
    with joined(config) as (processes, signal):
        requeued = processes.do_once(lambda: requeued_run(request))
        if requeued is not None and processes.do_once(lambda: skip_finished(requeued)):
            return processes.do_once(lambda: load_result(requeued))

        def fill(folder: RunFolder, name: str) -> None:
            remember_request(request, folder)
            write_status(folder, RUNNING)

        info = parts.describe_data() or prepare_data(config, processes)
        split = processes.do_once(lambda: make_split(config)) if parts.datamodule is None else None
        check(config, info, split, parts)
        opened = holding_run(requeued, processes) if requeued else created(experiment, fill, processes, signal)
        with opened as run:
            suggestion = find_rate(config, info, split, run, processes, parts)
        if processes.is_rank_zero:
            say(f"plot: {run.lr_finder_plot}")
            say(f"use:  {this_program()} train --optimization.learning_rate {suggestion.learning_rate:.3g}")
            say("      together with the options given here")
    return suggestion


def _begin(session: Session, config: Config) -> None:
    """Train from the first step."""
    run, info, split, parts = session.run, session.info, session.split, session.parts
    if config.optimization.learning_rate == "auto":
        found = find_rate(config, info, split, run, session.processes, parts)
        config = replace(config, optimization=replace(config.optimization, learning_rate=found.learning_rate))
        if session.processes.is_rank_zero:
            _write_config(config, run, info)
    _fit(session, assemble(config, info, split, started=session.started, parts=parts))


def _fit(session: Session, experiment: Experiment, *, checkpoint: Path | None = None) -> None:
    """Train with Lightning, and report the result."""
    run, processes, parts = session.run, session.processes, session.parts
    started = time.monotonic()
    teacher = experiment.module.teacher
    if teacher is not None:
        processes.do_once(lambda: remember_teacher(teacher, run.teacher))
    state: dict[str, Any] = {}
    if checkpoint is not None:
        state = read_checkpoint(checkpoint, max_bytes=max_checkpoint_bytes(experiment.module))
        check_resumable(state, checkpoint, experiment, is_custom_network=parts.network is not None)
    finished_epochs = state[OWN_STATE]["finished_epochs"] if state else 0
    if processes.is_rank_zero and run.training_log.is_file():
        remove_epochs_after(run.training_log, finished_epochs)
    run_log = RunLog(run.training_log, enabled=processes.is_rank_zero)
    history = History(run.metrics, {"recipe": experiment.config.recipe, "data": experiment.info.describe()})
    pictures = Pictures(run, experiment, history)
    settings = experiment.config.training
    loggers = parts.loggers
    if loggers is None:
        loggers = build_loggers(settings, run, first_step=int(state["global_step"]) if state else None)
    loggers = without_failures(loggers, run)
    log_settings(loggers, experiment.config)
    ending: Ending = "failed"
    trainer = build_trainer(
        settings,
        run.path,
        callbacks=build_callbacks(
            run,
            experiment,
            history,
            run_log,
            session.signal,
            parts.callbacks,
            first_batch=pictures.first_batch,
            has_loggers=bool(loggers),
        ),
        loggers=loggers,
        distributed_sampler=parts.datamodule is not None,
    )
    try:
        announce_run(run, experiment, trainer, run_log)
        if state:
            run_log.tell(f"resumed  after step {state['global_step']:,}, in epoch {finished_epochs + 1}")
        elif processes.is_rank_zero:
            text = model_info(experiment.module.network, image_shape=experiment.image_shape)
            write_atomically(run.model_info, f"{text}\n".encode())
            log_graph(loggers, experiment.module.network, experiment.image_shape)
        if settings.compile != "none":
            experiment.module.network.compile(mode=settings.compile)  # in place, so the weights keep their names
        with quiet(), interrupts_kept(), memory_errors_as_user_errors():
            trainer.fit(experiment.module, datamodule=experiment.data, ckpt_path=checkpoint, weights_only=True)
        if processes.is_rank_zero:
            seconds = time.monotonic() - started
            drawn = pictures.draw(loggers)
            announce_result(run, history, run_log, seconds=seconds, pictures=drawn)
            best = history.best()
            log_hyperparameters(loggers, experiment.config, best["val/accuracy"] if best else None)
            history.finish()  # last: what is known is shown even if nothing can be written
        ending = "finished"
    except StopTraining as stop:
        ending = "stopped"
        run_log.write(f"stopped. {stop}")
        # The other processes wait meanwhile: if they ended, their launcher would end rank 0.
        processes.do_once(lambda: pictures.draw(loggers))
        raise Stopped(str(stop), session.signal.received) from None
    except Diverged as error:
        run_log.write(str(error))
        processes.do_once(lambda: pictures.draw(loggers))
        raise
    except KeyboardInterrupt:
        ending = "stopped"
        run_log.write(f"interrupted after {len(history.epochs)} epochs")
        raise
    finally:
        run_log.close()
        for logger in loggers:
            logger.finalize("success")
        if ending == "finished":
            session.loggers.extend(loggers)
        else:
            conclude(loggers, ending)


def _write_config(config: Config, run: RunFolder, info: DatasetInfo, *, name: str | None = None) -> None:
    """Write `config.yaml`. name: of the run, if its folder does not have it yet."""
    parts = ", ".join(f"{part}={value}" for part, value in read_parts(run).items())
    path = shlex.quote(str(run.config if name is None else run.config.parent.with_name(name) / run.config.name))
    repeat = f"Started from Python with {parts}." if parts else f"Repeat: cifar100 train --config {path}"
    write_config(config, run.config, comment=f"{info.describe()}. {repeat}")


def _newest_state(run: RunFolder) -> Path | None:
    """Return the newest checkpoint to resume from; None if the run has saved none."""
    if not has_saved_state(run):
        if History(run.metrics, {}).epochs:
            warn(f"{run.path} has no saved state; training starts again from the first step.")
        return None
    return find_checkpoint(run, "last", tell=warn)
