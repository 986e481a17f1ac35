"""Check what may change when a run is resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cifar100.config import Config, TrainingConfig, get, settings
from cifar100.config.settings_file import naming
from cifar100.data.dataset_info import DatasetInfo, read_info
from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.files.user_paths import as_argument
from cifar100.runs.advice import how_to_evaluate
from cifar100.runs.checkpoints import saved_facts
from cifar100.runs.combined import read_combined
from cifar100.runs.folder import LAST, RunFolder, how_to_resume, read_parts
from cifar100.runs.history import History
from cifar100.settings import config_from_dict, load_complete_config
from cifar100.terminal import say

CHANGEABLE = {
    "training.max_epochs": "the learning-rate schedule is stretched over the new length",
    "training.max_minutes": "the learning-rate schedule is stretched over the new length",
    "training.devices": "the images of an optimizer step stay the same, shared by all devices",
    "training.num_nodes": "the images of an optimizer step stay the same, shared by all devices",
    "training.accelerator": "",
    "training.compile": "",
    "training.profile": "",
    "training.validate_every": "",
    "training.save_every_minutes": "",
    "training.max_nonfinite_losses": "",
    "training.loggers": "",
    "training.wandb_project": "",
    "training.mlflow_uri": "",
    "training.mlflow_experiment": "",
    "data.num_workers": "",
    "data.root": "the same data, in another folder",
}
"""Settings that may change mid-run, each with the consequence. Any other change makes another experiment."""

CHANGEABLE_AT_THE_START = ("data.batch_size", "optimization.learning_rate")
"""Settings that may also change while no state is saved: the run begins again, perhaps because it was out of memory."""


def refuse_average(run: RunFolder) -> None:
    """Refuse to resume an average of runs: it has weights, but no optimizer and no schedule.

    Raises:
        UserError: names the members.
    """
    combined = read_combined(run)
    if combined is not None:
        raise UserError(
            f"{run.path} is an {combined.label} ({combined.names}) and has no training to resume; resume one of its "
            "members."
        )


def changed_config(run: RunFolder, changes: Mapping[str, Any]) -> Config:
    """Return the settings of a run with changes.

    `config.yaml` may have been edited, which changes no settings that the saved state was trained with.

    Raises:
        UserError: names the settings that cannot change.
    """
    written = load_complete_config(run.config)
    trained_with = _trained_with(run)
    before = trained_with or written
    edited = [setting for setting in _different(before, written) if setting not in CHANGEABLE]
    if edited:
        raise UserError(
            f"{run.config} was edited: {edited[0]} is {_shown(get(written, edited[0]))} there, but the saved state was "
            f"trained with {_shown(get(before, edited[0]))}; change it back, or start another run: cifar100 train "
            f"--config {as_argument(run.config)}"
        )
    after = load_complete_config(run.config, overrides=changes)
    for setting in ("training.devices", "data.batch_size"):
        if get(after, setting) == "auto" != get(before, setting):
            raise UserError(f"--{setting} auto works only at the start of a run; set a number to resume it.")
    changeable = CHANGEABLE.keys() | (set() if trained_with else set(CHANGEABLE_AT_THE_START))
    refused = [setting for setting in _different(written, after) if setting not in changeable]
    if refused:
        raise UserError(
            f"--{', --'.join(refused)} cannot change mid-run ({run.name} has "
            f"{', '.join(_shown(get(before, setting)) for setting in refused)}); start another run: "
            f"cifar100 train --config {as_argument(run.config)} with the new settings."
        )
    if trained_with is None and "data.batch_size" in changes:
        return after
    return _with_the_same_step(before, after)


def _trained_with(run: RunFolder) -> Config | None:
    """Return the settings in the newest saved state; None if there is none."""
    saved = saved_facts(run)
    if saved is None:
        return None
    with naming(run.checkpoints / LAST):
        return config_from_dict(saved[0])


def _different(one: Config, other: Config) -> list[str]:
    """Return the settings that differ. The batch size does not if a step has the same images on other processes."""
    found = [setting for setting in settings() if get(one, setting) != get(other, setting)]
    same_step = images_of_a_step(one) == images_of_a_step(other)
    return [setting for setting in found if setting != "data.batch_size" or not same_step]


def images_of_a_step(config: Config) -> int:
    """Return the images of an optimizer step, of all processes together."""
    return config.data.images_per_step * config.training.num_processes


def show_changes(run: RunFolder, after: Config) -> None:
    """Print the settings that differ from those of the run's `config.yaml`."""
    before = load_complete_config(run.config)
    effects = dict.fromkeys(CHANGEABLE_AT_THE_START, "the run starts over") | CHANGEABLE
    for setting, effect in effects.items():
        if get(before, setting) != get(after, setting):
            reason = f" ({effect})" if effect else ""
            say(f"--{setting}: {_shown(get(before, setting))} -> {_shown(get(after, setting))}{reason}")


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with_the_same_step(before: Config, after: Config) -> Config:
    """Divide the images of a step among the present number of processes."""
    images = images_of_a_step(before)
    if images % after.training.num_processes:
        raise UserError(
            f"an optimizer step of this run has {images:,} images, which {after.training.num_processes} processes "
            f"cannot divide evenly; set --training.devices to a divisor of {images}."
        )
    return replace(after, data=replace(after.data, batch_size=images // after.training.num_processes))


def check_data_and_length(run: RunFolder, config: Config, info: DatasetInfo) -> None:
    """Refuse to resume with other data, or beyond the end.

    Raises:
        UserError: names the reason.
    """
    before = read_info(run.dataset_info)
    if info.class_names != before.class_names:
        raise UserError(
            f"the data have {info.num_classes:,} classes ({info.describe()}), but {run.path} was trained on "
            f"{before.num_classes:,} others ({before.describe()}); use the same data."
        )
    if info.sha256.get("train") != before.sha256.get("train"):
        raise UserError(
            f"{config.data.root} holds other training images or labels than {run.path} was trained on; restore them, "
            "set --data.root to the folder that holds them, or start another run."
        )
    _check_length(run, config.training)


def has_reached(run: RunFolder, training: TrainingConfig) -> bool:
    """Return whether the run is finished, and as long as the settings ask for."""
    history = History(run.metrics, {})
    epochs = training.max_epochs is not None and training.max_epochs <= len(history.epochs)
    minutes = training.max_minutes is not None and training.max_minutes <= _minutes_trained(run)
    return history.finished and (epochs or minutes)


def _check_length(run: RunFolder, training: TrainingConfig) -> None:
    """Refuse a length that the run already has."""
    epochs = len(History(run.metrics, {}).epochs)
    if has_reached(run, training):
        lengths: dict[str, str] = {}
        if training.max_epochs is not None:
            lengths["training.max_epochs"] = f"{epochs}"
        if training.max_minutes is not None:
            lengths["training.max_minutes"] = f"{math.ceil(_minutes_trained(run) * 100) / 100:g}"
        longer = [f"{how_to_resume(run, {name: 'N'})}, with N above {least}" for name, least in lengths.items()]
        length = f"{epochs:,} epoch{'s' * (epochs != 1)}"
        raise UserError(
            f"{run.path} has finished its {length}; evaluate it: {how_to_evaluate(run)}; or train it longer: "
            f"{', or '.join(longer)}"
        )
    if training.max_epochs is not None and math.ceil(training.max_epochs) < epochs:
        raise UserError(
            f"--training.max_epochs is {training.max_epochs:g}, but {run.path} has already trained {epochs:,} epochs; "
            f"set at least {epochs}, or evaluate it: {how_to_evaluate(run)}"
        )


def _minutes_trained(run: RunFolder) -> float:
    """Return the time that the newest saved state of a run stands for."""
    saved = saved_facts(run)
    return 0.0 if saved is None else saved[1] / 60


def remember_parts(names: Mapping[str, str], run: RunFolder) -> None:
    """Record the names of the custom parts, if any; see `experiment.CustomParts.names`."""
    if names:
        write_json(dict(names), run.custom_parts)


def check_parts(names: Mapping[str, str], run: RunFolder) -> None:
    """Refuse to resume with custom parts other than those of the start.

    Raises:
        UserError: names the first difference.
    """
    before = read_parts(run)
    for part in sorted(before.keys() | names.keys()):
        if part not in names:
            raise UserError(
                f"{run.path} was started from Python with {part}={before[part]}; resume it: {how_to_resume(run)}"
            )
        if before.get(part) != names[part]:
            raise UserError(
                f"{run.path} was started with {part}={before.get(part, 'nothing')}, not {names[part]}; pass the same."
            )
