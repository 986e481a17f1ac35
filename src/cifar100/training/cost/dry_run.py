"""Measure some steps of a run, and estimate its time, memory and disk. Nothing is left behind."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cifar100.config import Config
from cifar100.data.folder.changes import find_changes
from cifar100.data.folder.layout import DataFolder
from cifar100.data.loading.image_loader import resolve_num_workers
from cifar100.data.loading.shared_memory import BATCHES_PER_WORKER
from cifar100.devices import choose_accelerator
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.models.summary import count_parameters
from cifar100.process.memory import peak_memory, reset_peak
from cifar100.runs.folder import LAST, LOGS, check_free
from cifar100.terminal import temporary_line
from cifar100.training.cost.run_time import Parts, plan
from cifar100.training.cost.step_timer import StepTimer, part_ends, part_sides
from cifar100.training.cost.trial import LEARNING_RATE, Subject
from cifar100.training.distributed.launcher import in_every_process
from cifar100.training.experiment import Experiment, assemble
from cifar100.training.finetuning.features import sample_features
from cifar100.training.lr_finder.range_test import steps_of_test
from cifar100.training.optimization.clock import StandingClock
from cifar100.training.optimization.ema import AveragedWeights, WeightAveraging
from cifar100.training.preflight.custom_parts import CustomParts
from cifar100.training.preflight.resources import device_memory
from cifar100.training.preflight.session import joined, prepared
from cifar100.training.reporting.silence import quiet
from cifar100.training.trainer import build_trainer, interrupts_kept

VALIDATION_BATCHES = 4
"""Validation batches that are measured."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take, from some of its steps. Times are seconds, sizes bytes."""

    config: Config
    """The settings, with numbers instead of `auto` where they are known before the run."""
    parameters: int
    device: str
    steps_per_epoch: int
    seconds_per_step: dict[int, float]
    """Side of the images in pixels -> seconds of an optimizer step of all processes together."""
    images_per_step: int
    """Of all processes together."""
    parts: Parts
    start_seconds: float
    """From the start of the command to the first step; with the range test, if the run has one, and the features that
    are computed once."""
    saving_seconds: float
    memory: int | None
    """Peak of a process: of its GPU, else of its physical memory, worker processes not included."""
    memory_limit: int | None
    checkpoint_bytes: int
    """The two newest states, or the only one of a short run, and the best weights."""
    saving_bytes: int
    """In addition, while a state is written."""
    free_disk: int

    @property
    def seconds(self) -> float:
        """The whole run."""
        parts = self.parts
        return self.start_seconds + parts.training_seconds + parts.validation_seconds + self.saving_seconds


@in_every_process
def estimate_run(
    config: Config, *, experiment: str | None = None, parts: CustomParts | None = None, started: float | None = None
) -> Estimate:
    """Check and build everything as `start_run` does, and measure some steps.

    Args:
        config: all settings.
        experiment: name of the run that would be made.
        parts: custom parts of a Python caller.
        started: `time.monotonic()` at the start of the command. None: now.

    Raises:
        UserError: the run could not start; or its data are not prepared, which would write them.
    """
    parts = parts or CustomParts()
    started = time.monotonic() if started is None else started
    with joined(config, parts=parts) as context:
        processes = context.processes
        processes.do_once(lambda: check_free(experiment))
        if parts.datamodule is None:
            processes.do_once_on_each_machine(lambda: _refuse_to_prepare(config))
        subject = prepared(config, parts, processes)
        with tempfile.TemporaryDirectory(prefix="cifar100-dry-run-") as folder:
            return _measure(subject, Path(folder), started=started)


def _refuse_to_prepare(config: Config) -> None:
    """Refuse data that the run would prepare first.

    Raises:
        UserError: names the command that prepares them.
    """
    root, side = config.data.root, config.data.side
    folder = DataFolder(root, side)
    found = folder.describe_absence()
    if folder.is_sound():
        changes = find_changes(folder, folder.info(), needs_test=False)
        needs_files = folder.is_custom() or config.data.pipeline == "images"
        if not changes.derived and not (needs_files and changes):
            return
        found = f"{root} is not as it was prepared ({changes.describe()})"
    source = f" --image-size {side}" if folder.is_custom() else f" --source {config.data.source}"
    raise UserError(
        f"{found}, and a dry run writes nothing; prepare the data first: cifar100 prepare{source} "
        f"--root {as_argument(root)}"
    )


def _measure(subject: Subject, folder: Path, *, started: float) -> Estimate:
    config, parts = subject.config, subject.parts
    is_auto = config.optimization.learning_rate == "auto"
    rate = LEARNING_RATE if is_auto else config.optimization.learning_rate
    built = replace(config, optimization=replace(config.optimization, learning_rate=rate))
    training, clock = config.training, StandingClock(0.0)
    _reset_peak(torch.device(choose_accelerator(config.training.accelerator)))
    experiment = assemble(built, subject.info, subject.split, clock=clock, parts=parts)
    features_seconds = 0.0
    if config.model.cache_features:
        experiment, features_seconds = sample_features(experiment)
    timer = StepTimer(clock, part_ends(training), warm_up=_warm_up(config, parts), checkpoint=folder / LAST)
    trainer = build_trainer(
        replace(
            training,
            max_epochs=100_000,
            max_minutes=None,
            validate_every=1,
            limit_train_batches=None,
            limit_val_batches=min(VALIDATION_BATCHES, training.limit_val_batches or VALIDATION_BATCHES),
        ),
        folder,
        callbacks=[*_averaging(experiment), timer],
        distributed_sampler=parts.datamodule is not None,
    )
    if training.compile != "none":
        experiment.module.network.compile(mode=training.compile)
    sign = temporary_line("measuring a few steps ...") if trainer.is_global_zero else nullcontext()
    with sign, quiet(), interrupts_kept():
        trainer.fit(experiment.module, datamodule=experiment.data)
    validation = timer.seconds_per_validation_batch * _validation_batches(experiment)
    length = plan(
        training,
        steps_per_epoch=experiment.steps_per_epoch,
        seconds_per_step=timer.seconds_per_step,
        validation_seconds=validation,
    )
    range_test = _range_test_seconds(config, experiment.steps_per_epoch, timer.seconds_per_step) if is_auto else 0.0
    # All ranks reach this point, but only rank 0 has written the state.
    state = (folder / LAST).stat().st_size if (folder / LAST).is_file() else 0
    best = _weights(experiment) if validation else 0
    saves = _saves(config, length)
    return Estimate(
        config=config,
        parameters=count_parameters(experiment.module.network),
        device=trainer.strategy.root_device.type,
        steps_per_epoch=experiment.steps_per_epoch,
        seconds_per_step=dict(zip(part_sides(config), timer.seconds_per_step, strict=True)),
        images_per_step=_images_per_step(subject),
        parts=length,
        start_seconds=timer.began - started + range_test + features_seconds,
        saving_seconds=timer.seconds_per_save * saves,
        memory=_peak(trainer.strategy.root_device),
        memory_limit=device_memory(trainer.strategy.root_device.type),
        checkpoint_bytes=min(2, saves) * state + best,
        saving_bytes=state,
        free_disk=shutil.disk_usage(LOGS if LOGS.is_dir() else Path()).free,
    )


def _range_test_seconds(config: Config, steps_per_epoch: int, seconds_per_step: Sequence[float]) -> float:
    """Return the time of the range test, whose images have the size that they have at the maximum of the schedule.

    seconds_per_step: in each part of the run, see `step_timer.part_ends`.
    """
    part = bisect_right(config.training.resolution_changes or (), config.optimization.pct_start)
    return steps_of_test(steps_per_epoch) * seconds_per_step[part]


def _images_per_step(subject: Subject) -> int:
    """Return the images of an optimizer step of all processes."""
    if subject.split is None:
        return 0
    training = subject.config.training
    return min(subject.config.data.images_per_step * training.num_processes, len(subject.split.train))


def _warm_up(config: Config, parts: CustomParts) -> int:
    """Return the steps that do not count: the first, and those whose images workers have read ahead."""
    if config.data.pipeline == "packed" or parts.datamodule is not None:
        return 1
    workers = resolve_num_workers(config.data.num_workers, num_processes=config.training.processes_here)
    return 1 + workers * BATCHES_PER_WORKER


def _averaging(experiment: Experiment) -> list[WeightAveraging]:
    decay = experiment.config.optimization.ema_decay
    if decay is None:
        return []
    return [WeightAveraging(AveragedWeights(experiment.module.network), experiment.clock, decay=decay)]


def _validation_batches(experiment: Experiment) -> int:
    loader: Any = experiment.data.val_dataloader()
    batches = len(loader) if loader is not None else 0
    limit = experiment.config.training.limit_val_batches
    return batches if limit is None else min(batches, limit)


def _saves(config: Config, parts: Parts) -> int:
    """Return how often the state is saved: in intervals, and at the end."""
    minutes = config.training.save_every_minutes
    if minutes == 0:
        return parts.steps
    return 1 + math.floor((parts.training_seconds + parts.validation_seconds) / (60 * minutes))


def _weights(experiment: Experiment) -> int:
    return sum(value.nbytes for value in experiment.module.network.state_dict().values())


def _reset_peak(device: torch.device) -> None:
    """Forget the memory of the trials that have decided on a batch size."""
    reset_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()
