"""Announce a run and its result."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.environment import describe_devices, describe_versions
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import printable
from cifar100.metrics import METRICS, label, text
from cifar100.models.summary import count_parameters
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.runs.history import History
from cifar100.settings import to_dict
from cifar100.terminal import next_steps
from cifar100.training.experiment import Experiment
from cifar100.training.reporting.run_log import RunLog, format_seconds


def announce_run(run: RunFolder, experiment: Experiment, trainer: L.Trainer, run_log: RunLog) -> None:
    """Show network, data and device; write the settings and versions to the log as well."""
    config, split = experiment.config, experiment.split
    stem = f", {config.model.stem} stem" if config.model.stem else ""
    parameters = count_parameters(experiment.module.network)
    device = trainer.strategy.root_device.type
    processes = f"{config.training.num_processes} x " if config.training.num_processes > 1 else ""
    run_log.tell(f"recipe   {config.recipe or 'none'}")
    custom = read_parts(run)
    name = custom.get("network", f"{config.model.name}{stem}")
    run_log.tell(f"network  {name}, {parameters:,} parameters")
    if experiment.origin is not None:
        run_log.tell(f"weights  {printable(experiment.origin.describe())}")
    if config.model.freeze != "none":
        trained = sum(weight.numel() for weight in experiment.module.network.parameters() if weight.requires_grad)
        run_log.tell(f"frozen   {config.model.freeze}; {trained:,} parameters are trained")
    if "loss" in custom:
        run_log.tell(f"loss     {custom['loss']}")
    if experiment.module.teacher is not None:
        run_log.tell(f"teacher  {experiment.module.teacher.checkpoint}")
    run_log.tell(f"data     {experiment.info.describe()}")
    if split is not None:
        run_log.tell(f"folder   {config.data.root}")
        left_out = f", {len(split.excluded):,} left out" if len(split.excluded) else ""
        run_log.tell(f"images   {len(split.train):,} for training, {len(split.validation):,} for validation{left_out}")
    if isinstance(experiment.data, CifarDataModule):
        run_log.tell(f"pixels   {experiment.data.describe_images(trainer.strategy.root_device)}")
    weights = experiment.module.class_weights
    if weights is not None:
        least, most = (
            f"{weights[label]:.3g} ({printable(experiment.info.class_names[int(label)])})"
            for label in (weights.argmin(), weights.argmax())
        )
        run_log.tell(f"weights  {least} to {most}")
    run_log.tell(f"device   {processes}{device} ({describe_devices()[device]}), {trainer.precision}")
    run_log.tell(f"run      {run.path}")
    run_log.show()
    versions = ", ".join(f"{name} {version}" for name, version in describe_versions().items())
    run_log.write(f"versions: {versions}")
    for section, settings in to_dict(config).items():
        if isinstance(settings, dict):
            run_log.write(f"{section}: " + ", ".join(f"{key} {value}" for key, value in settings.items()))


def announce_result(
    run: RunFolder, history: History, run_log: RunLog, info: DatasetInfo, *, seconds: float, pictures: Sequence[str]
) -> None:
    """Show the result of the run and the commands to inspect it. pictures: names of the files that were drawn."""
    best, last = history.best(), history.epochs[-1]
    rows: list[tuple[str, str]] = []
    if best:
        rows.append(("best validation accuracy", f"{best['val/accuracy']:.2%}, epoch {best['epoch']:.0f}"))
        for name in METRICS:
            if name not in ("loss", "accuracy") and f"val/{name}" in best:
                rows.append((f"its {label(name)}", text(name, best[f"val/{name}"])))
    rows.append(("training accuracy at the end", f"{last['train/accuracy']:.2%}"))
    rows.append(("time", format_seconds(seconds)))
    rows.append(("checkpoints", printable(run.checkpoints)))
    if pictures:
        rows.append(("pictures", ", ".join(pictures)))
    width = max(len(name) for name, _ in rows)
    run_log.show()
    for name, value in rows:
        run_log.show(f"{name:<{width}}  {value}")
    run_log.show()
    if not info.num_test and not best and info.origin == "custom" and "datamodule" not in read_parts(run):
        run_log.show("No images are held out to evaluate this network on. To hold some out, add test/CLASS folders, or")
        run_log.show("train with --data.validation_fraction 0.1.")
        run_log.show()
    for line in _next(run, can_evaluate=bool(info.num_test or best), has_test=bool(info.num_test)):
        run_log.show(line)
    outcome = f"best validation accuracy {best['val/accuracy']:.2%}, epoch {best['epoch']:.0f}" if best else "finished"
    run_log.write(f"{outcome}; {format_seconds(seconds)}")


def _next(run: RunFolder, *, can_evaluate: bool, has_test: bool) -> list[str]:
    """Return how to inspect and use a finished run: by commands, or from Python what needs a custom network.

    The images of a custom data module are in no data folder, so `evaluate` cannot measure them.
    """
    parts = read_parts(run)
    report = f"cifar100 report {run.argument}"
    boards = [f"tensorboard --logdir {as_argument(run.tensorboard)}"] if run.tensorboard.is_dir() else []
    can_evaluate = can_evaluate and "datamodule" not in parts
    if "network" in parts:
        path = repr(run.path.as_posix())
        split = "" if has_test else ', split="validation"'
        calls = [f"evaluate({path}{split}, network=network)"] if can_evaluate else []
        calls.append(f'predict({path}, "IMAGE", network=network)')
        in_python = next_steps(*calls, purpose="in Python, with the same network")
        return [*in_python, "", *next_steps(report, *boards)]
    split = "" if has_test else " --split validation"
    commands = [f"cifar100 evaluate {run.argument}{split}"] if can_evaluate else []
    return next_steps(*commands, report, f"cifar100 predict {run.argument} IMAGE...", *boards)
