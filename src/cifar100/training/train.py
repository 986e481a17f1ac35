"""The story of one run, from the settings to the best checkpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifar100.config import Config
from cifar100.data.dataset_info import write_info
from cifar100.data.folder.splits import load_split, save_split
from cifar100.runs.checkpoints import find_checkpoint, has_saved_state
from cifar100.runs.folder import LOGS, RunFolder
from cifar100.runs.history import History
from cifar100.runs.status import RUNNING, write_status
from cifar100.terminal import say, warn
from cifar100.training.cost.long_run import announce_long_run
from cifar100.training.cost.out_of_memory import memory_errors_as_user_errors
from cifar100.training.distributed.launcher import in_every_process
from cifar100.training.finetuning.features import remove_features
from cifar100.training.fit import begin, go_on, write_settings
from cifar100.training.lr_finder.find import find_rate
from cifar100.training.lr_finder.suggestions import RangeTestResult, load_result
from cifar100.training.preflight.custom_parts import CustomParts
from cifar100.training.preflight.session import (
    Context,
    ReportWriter,
    check,
    conclude_finished,
    created,
    holding_run,
    joined,
    prepare_data,
    prepared,
)
from cifar100.training.recovery.requeueing import (
    is_of_requeued_job,
    remember_request,
    requeued_run,
    skip_finished,
    slurm_request,
)
from cifar100.training.recovery.resuming import (
    changed_config,
    check_data_and_length,
    check_parts,
    has_reached,
    refuse_average,
    remember_parts,
    show_changes,
)


@in_every_process
def start_run(
    config: Config,
    *,
    experiment: str | None = None,
    below: Path = LOGS,
    started: float | None = None,
    parts: CustomParts | None = None,
    write_report: ReportWriter | None = None,
) -> RunFolder:
    """Train from the beginning, in a new run folder.

    Args:
        config: all settings.
        experiment: name of the run folder; None: the next free `experiment<N>`.
        below: folder of the run folder.
        started: `time.monotonic()` at the start of the command, from which `training.max_minutes` counts. None: now.
        parts: custom parts of a Python caller.
        write_report: writes the report that trackers keep; None: they get none.

    Raises:
        UserError: the data, the device or the run folder cannot be used.
    """
    parts = parts or CustomParts()
    started = time.monotonic() if started is None else started
    request = slurm_request("train", config, experiment=experiment, parts=parts.names())
    with joined(config, parts=parts, started=started, write_report=write_report) as context:
        processes = context.processes
        requeued = processes.do_once(lambda: requeued_run(request))
        if requeued is not None:  # SLURM has started the same command again
            if not processes.do_once(lambda: skip_finished(requeued)):
                _continue(changed_config(requeued, {}), requeued, replace(context, started=None))
            return requeued
        subject = prepared(config, parts, processes)
        config, info, split = subject.config, subject.info, subject.split
        processes.do_once(lambda: announce_long_run(subject))

        def fill(folder: RunFolder, name: str) -> None:
            if split is not None:
                save_split(split, folder.split)
            write_info(info, folder.dataset_info)
            remember_parts(parts.names(), folder)
            remember_request(request, folder)
            write_status(folder, RUNNING)
            write_settings(config, folder, info, name=name)

        with created(experiment, fill, processes, context.signal, below=below) as run:
            session = context.session(run, info, split)
            begin(session, config)
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
    with joined(config, parts=parts, write_report=write_report) as context:
        _continue(config, run, context, changed=changed)
    return run


def _continue(config: Config, run: RunFolder, context: Context, *, changed: bool = False) -> None:
    """Train from the last saved state to the end."""
    processes, parts = context.processes, context.parts
    info = parts.describe_data() or prepare_data(config, processes, resumed=run)
    processes.do_once(lambda: check_data_and_length(run, config, info))
    split = load_split(run.split) if parts.datamodule is None else None
    check(config, info, split, parts, starts=not has_saved_state(run))
    with holding_run(run, processes):
        checkpoint = processes.do_once(lambda: _newest_state(run))
        if processes.is_rank_zero:
            show_changes(run, config)
        if processes.is_rank_zero and changed:
            write_settings(config, run, info)
        session = context.session(run, info, split)
        if checkpoint is None:
            begin(session, config)
        else:
            go_on(session, config, checkpoint)
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
    with joined(config, parts=parts) as context:
        processes = context.processes
        requeued = processes.do_once(lambda: requeued_run(request))
        if requeued is not None and processes.do_once(lambda: skip_finished(requeued)):
            return processes.do_once(lambda: load_result(requeued))

        def fill(folder: RunFolder, name: str) -> None:
            remember_request(request, folder)
            write_status(folder, RUNNING)

        subject = prepared(config, parts, processes)
        opened = holding_run(requeued, processes) if requeued else created(experiment, fill, processes, context.signal)
        with opened as run, memory_errors_as_user_errors(subject, run):
            suggestion = find_rate(subject.config, subject.info, subject.split, run, processes, parts)
        if processes.is_rank_zero:
            remove_features(run)
            say(f"plot: {run.lr_finder_plot}")
    return suggestion


def _newest_state(run: RunFolder) -> Path | None:
    """Return the newest checkpoint to resume from; None if the run has saved none."""
    if not has_saved_state(run):
        if History(run.metrics, {}).epochs:
            warn(f"{run.path} has no saved state; training starts again from the first step.")
        return None
    return find_checkpoint(run, "last", tell=warn)
