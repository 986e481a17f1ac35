"""Train the network of a session with Lightning, from its first step or from a checkpoint, and report the result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo
from cifar100.errors import Diverged, Stopped
from cifar100.files.atomic import write_atomically
from cifar100.files.user_paths import as_argument
from cifar100.models.summary import model_info
from cifar100.runs.checkpoints import OWN_STATE, max_checkpoint_bytes, read_checkpoint
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.runs.history import History
from cifar100.settings import write_config
from cifar100.training.callbacks import build_callbacks
from cifar100.training.cost.out_of_memory import memory_errors_as_user_errors
from cifar100.training.cost.trial import Subject
from cifar100.training.distributed.processes import Processes
from cifar100.training.experiment import Experiment, assemble
from cifar100.training.finetuning.features import compute_features, on_features, remove_features
from cifar100.training.finetuning.initial_weights import remember_origin
from cifar100.training.lr_finder.find import find_rate
from cifar100.training.optimization.distillation import remember_teacher
from cifar100.training.preflight.session import Session
from cifar100.training.profiling.profile import RunProfile
from cifar100.training.recovery.resumable import check_resumable
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


def begin(session: Session, config: Config) -> None:
    """Train from the first step."""
    run, info, split, parts = session.run, session.info, session.split, session.parts
    with memory_errors_as_user_errors(Subject(config, info, split, parts), run):
        if config.optimization.learning_rate == "auto":
            found = find_rate(config, info, split, run, session.processes, parts)
            config = replace(config, optimization=replace(config.optimization, learning_rate=found.learning_rate))
            if session.processes.is_rank_zero:
                write_settings(config, run, info)
        _fit(session, assemble(config, info, split, started=session.started, parts=parts))


def go_on(session: Session, config: Config, checkpoint: Path) -> None:
    """Train from a saved state."""
    info, split, parts = session.info, session.split, session.parts
    with memory_errors_as_user_errors(Subject(config, info, split, parts), session.run):
        _fit(session, assemble(config, info, split, parts=parts, resumes=True), checkpoint=checkpoint)


def _fit(session: Session, experiment: Experiment, *, checkpoint: Path | None = None) -> None:
    """Train with Lightning, and report the result."""
    run, processes, parts = session.run, session.processes, session.parts
    started = time.monotonic()
    teacher = experiment.module.teacher
    if teacher is not None:
        processes.do_once(lambda: remember_teacher(teacher, run.teacher))
    origin = experiment.origin
    if origin is not None:
        processes.do_once(lambda: remember_origin(origin, run.initial_weights))
    state: dict[str, Any] = {}
    if checkpoint is not None:
        state = read_checkpoint(checkpoint, max_bytes=max_checkpoint_bytes(experiment.module))
        check_resumable(state, checkpoint, experiment, is_custom_network=parts.network is not None)
    if experiment.config.model.cache_features:
        experiment = _on_features(experiment, run, processes, state)
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
    profile = _profile(run, experiment, steps_before=int(state["global_step"]) if state else 0)
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
            profiling=profile.callbacks if profile else (),
        ),
        loggers=loggers,
        profiler=profile.times if profile else None,
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
        with quiet(), interrupts_kept():
            trainer.fit(experiment.module, datamodule=experiment.data, ckpt_path=checkpoint, weights_only=True)
        if processes.is_rank_zero:
            seconds = time.monotonic() - started
            drawn = pictures.draw(loggers)
            if profile is not None:
                profile.report(run_log)
            announce_result(run, history, run_log, experiment.info, seconds=seconds, pictures=drawn)
            best = history.best()
            log_hyperparameters(loggers, experiment.config, best["val/accuracy"] if best else None)
            history.finish()  # last: what is known is shown even if nothing can be written
            remove_features(run)
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
        run_log.write(f"interrupted after {len(history.epochs):,} epochs")
        raise
    finally:
        run_log.close()
        for logger in loggers:
            logger.finalize("success")
        if ending == "finished":
            session.loggers.extend(loggers)
        else:
            conclude(loggers, ending)


def _on_features(experiment: Experiment, run: RunFolder, processes: Processes, state: Mapping[str, Any]) -> Experiment:
    """Return the experiment that trains only the classifier, on features of the frozen network."""
    if state:
        experiment.module.load_state_dict(state["state_dict"])  # the features depend on the weights
    processes.do_once(lambda: compute_features(experiment, run))
    return on_features(experiment, run)


def _profile(run: RunFolder, experiment: Experiment, *, steps_before: int) -> RunProfile | None:
    """Return what records the run, if the settings ask for it. steps_before: those of its earlier parts."""
    if not experiment.config.training.profile:
        return None
    total = experiment.clock.total_steps
    return RunProfile(run, experiment, remaining_steps=None if total is None else max(0, total - steps_before))


def write_settings(config: Config, run: RunFolder, info: DatasetInfo, *, name: str | None = None) -> None:
    """Write `config.yaml`. name: of the run, if its folder does not have it yet."""
    parts = ", ".join(f"{part}={value}" for part, value in read_parts(run).items())
    path = as_argument(run.config if name is None else run.config.parent.with_name(name) / run.config.name)
    repeat = f"Started from Python with {parts}." if parts else f"Repeat: cifar100 train --config {path}"
    write_config(config, run.config, comment=f"{info.describe()}. {repeat}")
