"""What a run needs before it trains: its signals and processes, its data, and its folder, which it holds alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lightning.pytorch.loggers import Logger

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo, read_info
from cifar100.data.folder.splits import Split
from cifar100.data.prepare import ensure_prepared, refuse_moved
from cifar100.devices import check_device, choose_accelerator
from cifar100.errors import UserError
from cifar100.foreign_text import reason
from cifar100.process.stopping import StopSignal
from cifar100.runs.folder import LOGS, RunFolder, create_run_folder, how_to_resume
from cifar100.runs.history import History
from cifar100.runs.status import FAILED, occupied, write_status
from cifar100.terminal import warn
from cifar100.training.cost.batch_size import resolve_batch_size
from cifar100.training.cost.trial import Subject
from cifar100.training.distributed.joining import join_processes
from cifar100.training.distributed.processes import Processes
from cifar100.training.experiment import make_split
from cifar100.training.finetuning.features import check_cacheable
from cifar100.training.finetuning.initial_weights import (
    check_initial_weights,
    starts_from_weights,
    with_native_input,
)
from cifar100.training.preflight.custom_parts import CustomParts
from cifar100.training.preflight.resources import check_memory, check_workers
from cifar100.training.recovery.requeueing import stops_explained
from cifar100.training.recovery.write_failures import write_failures_as_user_errors
from cifar100.training.reporting.loggers import check_loggers, conclude

ReportWriter = Callable[[RunFolder], Path]
"""Writes the report of a run and returns its path. Training does not know how: it comes with the command."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a command that trains has before there is a run."""

    processes: Processes
    signal: StopSignal
    parts: CustomParts
    started: float | None = None
    """`time.monotonic()` at the start of the command; None: when training begins."""
    write_report: ReportWriter | None = None
    """Writes the report for the trackers; None: they get none."""

    def session(self, run: RunFolder, info: DatasetInfo, split: Split | None) -> Session:
        """Return the session of a run."""
        return Session(**vars(self), run=run, info=info, split=split)


@dataclass(frozen=True, kw_only=True)
class Session(Context):
    """What stays the same while a run is trained."""

    run: RunFolder
    info: DatasetInfo
    split: Split | None
    """None with a custom data module."""
    loggers: list[Logger] = field(default_factory=list)
    """Those of a finished run, whose trackers still wait for the report."""


@contextmanager
def joined(
    config: Config,
    *,
    parts: CustomParts,
    started: float | None = None,
    write_report: ReportWriter | None = None,
) -> Iterator[Context]:
    """Handle the signals and connect the processes. A missing device is refused before anything slow starts."""
    with stops_explained(), StopSignal() as signal:
        check_device(config.training)
        accelerator = choose_accelerator(config.training.accelerator)
        with join_processes(config.training, accelerator=accelerator) as processes:
            yield Context(processes=processes, signal=signal, parts=parts, started=started, write_report=write_report)


def check(config: Config, info: DatasetInfo, split: Split | None, parts: CustomParts, *, starts: bool = True) -> None:
    """Refuse what cannot work before there is a run folder. starts: whether the run needs its first weights."""
    parts.check_settings(config)
    if parts.loggers is None:
        check_loggers(config.training)
    if split is not None:
        check_workers(config)
        check_cacheable(config)
    if split is not None and parts.network is None:
        accelerator = choose_accelerator(config.training.accelerator)
        check_memory(config, info.num_classes, num_train=len(split.train), accelerator=accelerator)
    if starts and parts.network is None and starts_from_weights(config.model):
        check_initial_weights(config.model, info.num_classes)


def prepare_data(config: Config, processes: Processes, *, resumed: RunFolder | None = None) -> DatasetInfo:
    """Prepare the data folder once on each machine, and return what is in it.

    resumed: the run that is resumed. Nothing is prepared instead of its custom data.
    """
    data = config.data

    def prepare() -> DatasetInfo:
        if resumed is not None:
            refuse_moved(data.root, read_info(resumed.dataset_info))
        return ensure_prepared(
            data.source,
            data.root,
            needs_images=data.pipeline == "images",
            image_size=data.side,
            skip_damaged=data.skip_damaged,
        )

    return processes.do_once_on_each_machine(prepare)


def prepared(config: Config, parts: CustomParts, processes: Processes) -> Subject:
    """Return what a new run trains: the data are prepared and split, the batch size is a number, all is checked.

    Raises:
        UserError: something cannot work; there is no run folder yet.
    """
    if parts.network is None:
        config = with_native_input(config, scales_images=parts.datamodule is None)
    info = parts.describe_data() or prepare_data(config, processes)
    split = processes.do_once(lambda: make_split(config)) if parts.datamodule is None else None
    config = processes.do_once(lambda: resolve_batch_size(Subject(config, info, split, parts)))
    check(config, info, split, parts)
    return Subject(config, info, split, parts)


@contextmanager
def created(
    experiment: str | None,
    fill: Callable[[RunFolder, str], None],
    processes: Processes,
    signal: StopSignal,
    *,
    below: Path = LOGS,
) -> Iterator[RunFolder]:
    """Create a run folder and hold its lock. A signal in between waits, so that the status records it."""
    with ExitStack() as stack:
        with signal.deferred():
            run = processes.do_once(lambda: create_run_folder(experiment, fill, below=below))
            stack.enter_context(holding_run(run, processes))
        yield run


@contextmanager
def holding_run(run: RunFolder, processes: Processes) -> Iterator[RunFolder]:
    """Hold the run's lock on rank 0, and explain what ends the block."""
    with ExitStack() as stack:
        processes.do_once(lambda: stack.enter_context(occupied(run)))
        together = processes.failing_together(
            resume=how_to_resume(run), record=lambda reason: _record_failure(run, reason)
        )
        with stops_explained(run), together, write_failures_as_user_errors(run):
            yield run


def _record_failure(run: RunFolder, message: str) -> None:
    with suppress(UserError):  # the folder cannot be written, perhaps because it was on the other machine
        write_status(run, FAILED, message=message)


def conclude_finished(session: Session) -> None:
    """Give the trackers the final figures and the report, now that the status of the run says that it is finished."""
    if not session.processes.is_rank_zero:
        return
    run = session.run

    def files() -> list[Path]:
        found = [run.config, run.metrics_table, run.learning_curves]
        try:
            if session.write_report is not None:
                found.insert(0, session.write_report(run))
        except Exception as error:  # the run is complete
            warn(f"the report was not sent to the trackers ({reason(error)}).")
        return [file for file in found if file.is_file()]

    best = History(run.metrics, {}).best() or {}
    figures = {f"best/{name}": value for name, value in best.items() if name == "epoch" or name.startswith("val/")}
    conclude(session.loggers, "finished", figures=figures, files=files)
