"""Runs of one command that is repeated: a finished one is used again, an interrupted one is resumed."""

from __future__ import annotations

from dataclasses import replace

from cifar100.config import Config, get, settings
from cifar100.data.dataset_info import DatasetInfo, read_info
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.status import FINISHED, read_status
from cifar100.search.process import train_in_a_process
from cifar100.settings import load_complete_config
from cifar100.terminal import say
from cifar100.training.cost.batch_size import with_learning_rate
from cifar100.training.recovery.resuming import CHANGEABLE, images_of_a_step

_MAY_DIFFER = CHANGEABLE.keys() - {"training.max_epochs", "training.max_minutes"} | {"data.batch_size"}
"""Settings that may differ in an earlier run: they make no other network. Of `data.batch_size` and `training.devices`
only the joint batch counts."""


def train_once(config: Config, run: RunFolder, *, what: str) -> RunFolder:
    """Train in a process of its own, unless an earlier command has; resume what it has begun. Returns the finished run.

    what: such as `fold 1 of 5`.
    """
    if not run.config.is_file():
        say(what)
    elif is_finished(run):
        say(f"{what}: {run.path} is finished")
        return run
    else:
        say(f"{what}: resuming {run.path}")
    return train_in_a_process(config, run)


def is_finished(run: RunFolder) -> bool:
    """Return whether an earlier command has trained a run to its end."""
    return run.config.is_file() and read_status(run).get("status") == FINISHED


def check_earlier(run: RunFolder, config: Config, info: DatasetInfo, *, move: str) -> None:
    """Refuse a run of an earlier command that was trained otherwise, before anything is trained.

    Args:
        run: its folder, which may not exist.
        config: the settings that are asked for, after `resolve`.
        info: the data.
        move: what to do about it, such as `rename or remove logs/audit-fold*`.

    Raises:
        UserError: the run has other images or settings; names the first.
    """
    if not run.config.is_file():
        return
    if read_info(run.dataset_info).sha256.get("train") != info.sha256.get("train"):
        raise UserError(f"{run.path} was trained on other images than the data folder holds now; {move}.")
    before = load_complete_config(run.config)
    if config.data.batch_size == "auto":
        config = _with_batch_size_of(before, config)
    given = [name for name in settings() if name not in _MAY_DIFFER]
    if config.optimization.learning_rate == "auto":
        given.remove("optimization.learning_rate")  # a finished run names the one that it found
    for name in given:
        if get(before, name) != get(config, name):
            raise UserError(
                f"{run.path} was trained with --{name} {get(before, name)}, but {get(config, name)} is requested; use "
                f"the same, or {move}."
            )
    if images_of_a_step(before) != images_of_a_step(config):
        raise UserError(
            f"{run.path} was trained with {images_of_a_step(before):,} images in a step, but "
            f"{images_of_a_step(config):,} are requested; use the same --data.batch_size, or {move}."
        )


def _with_batch_size_of(before: Config, config: Config) -> Config:
    """Return settings with `data.batch_size auto` as an earlier run has decided, with the learning rate for it."""
    training = replace(config.training, devices=before.training.devices, num_nodes=before.training.num_nodes)
    data = replace(config.data, batch_size=before.data.batch_size)
    return with_learning_rate(replace(config, data=data, training=training), "")[0]
