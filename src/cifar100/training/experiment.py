"""Build the parts of a run from its settings, or use custom ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from cifar100.config import Config, DataConfig
from cifar100.data.audit.duplicates import duplicate_groups
from cifar100.data.audit.table import rejected_images
from cifar100.data.dataset_info import IMAGE_SIDE, DatasetInfo
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import (
    Split,
    exclude,
    hold_out,
    keep_in_one_fold,
    keep_together,
    split_off_last,
    stratified_folds,
    stratified_split,
)
from cifar100.data.image_batches import network_input
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.errors import UserError
from cifar100.models import make_network, use_channels_last
from cifar100.training.finetuning.initial_weights import Origin, load_initial_weights
from cifar100.training.lit_module import ImageClassifier
from cifar100.training.loss import class_weights
from cifar100.training.optimization.clock import RunClock, steps_of
from cifar100.training.optimization.distillation import load_teacher
from cifar100.training.preflight.custom_parts import CustomParts

WHITENING_IMAGES = 5000
"""Number of training images from which `init_from_images` computes the first weights; of more than 32x32 pixels fewer,
with as many pixels."""


@dataclass(frozen=True)
class Experiment:
    """The parts of a run."""

    config: Config
    info: DatasetInfo
    split: Split | None
    """None with a custom data module."""
    data: L.LightningDataModule
    module: ImageClassifier
    clock: RunClock
    steps_per_epoch: int
    image_shape: tuple[int, int, int]
    """Channels, height and width of an image."""
    origin: Origin | None = None
    """Of the first weights; None if they are random, or those of a saved state."""


def make_split(config: Config) -> Split:
    """Split the prepared training images into training, validation and excluded images.

    The validation images are those of a `val.csv`, of a fold, or a random fraction.

    Raises:
        UserError: there is a `val.csv`, and a setting that it would make ineffective; or `data.exclude` cannot be read
            or does not fit the data.
    """
    data, folder = config.data, DataFolder(config.data.root, config.data.side)
    info = folder.info()
    if info.num_validation and data.num_folds is None:
        _check_effects_beside_csv(data, info)
        split = split_off_last(info.num_train, info.num_validation)
    else:
        labels = folder.load_labels("train")
        if data.num_folds is not None:
            folds = stratified_folds(labels, num_folds=data.num_folds, seed=data.split_seed)
            if data.group_duplicates:
                groups = duplicate_groups(folder.load("train")[0])
                folds = keep_in_one_fold(folds, groups, labels, seed=data.split_seed)
            split = hold_out(folds == data.fold)
        else:
            split = stratified_split(labels, fraction=data.validation_fraction, seed=data.split_seed)
            if data.group_duplicates:
                groups = duplicate_groups(folder.load("train")[0])
                split = keep_together(split, groups, labels, seed=data.split_seed)
    return split if data.exclude is None else exclude(split, rejected_images(data.exclude, folder))


def _check_effects_beside_csv(data: DataConfig, info: DatasetInfo) -> None:
    """Refuse settings that a CSV file of validation images makes ineffective."""
    named = f"{data.root} names its {info.num_validation:,} validation images in a CSV file"
    if data.validation_fraction not in (0, DataConfig.validation_fraction):
        raise UserError(
            f"--data.validation_fraction is {data.validation_fraction:g}, but {named}; leave out the fraction, or "
            "remove that file."
        )
    if data.group_duplicates:
        raise UserError(f"--data.group_duplicates has no effect: {named}; leave it out, or remove that file.")


def assemble(
    config: Config,
    info: DatasetInfo,
    split: Split | None,
    *,
    started: float | None = None,
    clock: RunClock | None = None,
    parts: CustomParts | None = None,
    resumes: bool = False,
) -> Experiment:
    """Build data module, network and LightningModule. The same settings give the same first weights.

    Args:
        config: all settings; `optimization.learning_rate` is a number, unless the module is only trained by a test.
        info: the description of the data.
        split: the training and validation images; None with a custom data module.
        started: `time.monotonic()` at the start of the run, from which `training.max_minutes` counts. None: now.
        clock: of the run; None: as the settings say.
        parts: custom parts.
        resumes: whether a saved state will replace the first weights; then no other weights are looked for.
    """
    parts = parts or CustomParts()
    data, steps_per_epoch, image_shape = _data(config, info, split, parts)
    training = config.training
    if training.limit_train_batches is not None:
        steps_per_epoch = min(training.limit_train_batches, steps_per_epoch)
    max_seconds = None if training.max_minutes is None else 60 * training.max_minutes
    max_steps = None if training.max_epochs is None else steps_of(training.max_epochs, steps_per_epoch)
    run_clock = clock or RunClock(max_steps, max_seconds=max_seconds, started=started)
    teacher = None
    if isinstance(data, CifarDataModule):
        data.progress = lambda: run_clock.progress
    if config.optimization.teacher is not None:
        assert split is not None, "checked by CustomParts.check_settings"
        teacher = load_teacher(config.optimization.teacher, info, split, mean=data.mean, std=data.std)
    torch.manual_seed(training.seed)
    network = make_network(parts.network, config.model, info.num_classes)
    origin = None
    if not resumes and parts.network is None:
        origin = load_initial_weights(network, config.model, info.num_classes)
    _prepare_network(network, config, data, computes=origin is None)
    weights = None
    if config.optimization.class_weights == "balanced":
        assert split is not None, "checked by CustomParts.check_settings"
        weights = class_weights(data.folder.load_labels("train")[split.train], info.num_classes)
    module = ImageClassifier(
        config,
        info.num_classes,
        network=network,
        loss=parts.loss,
        clock=run_clock,
        teacher=teacher,
        class_weights=weights,
    )
    return Experiment(config, info, split, data, module, run_clock, steps_per_epoch, image_shape, origin)


def _data(
    config: Config, info: DatasetInfo, split: Split | None, parts: CustomParts
) -> tuple[Any, int, tuple[int, int, int]]:
    """Return the data module, its steps per epoch and the shape of its images."""
    if parts.datamodule is None:
        assert split is not None
        data = CifarDataModule(config, info, split)
        return data, data.steps_per_epoch, (3, config.data.side, config.data.side)
    parts.datamodule.prepare_data()
    parts.datamodule.setup("fit")
    loader = parts.datamodule.train_dataloader()
    images, _ = next(iter(loader))
    channels, height, width = images.shape[1:]
    return parts.datamodule, math.ceil(len(loader) / config.training.num_processes), (channels, height, width)


def _prepare_network(network: nn.Module, config: Config, data: Any, *, computes: bool) -> None:
    """Set the memory layout, and if it `computes` any, the weights that depend on the data, in place."""
    init_from_images = getattr(network, "init_from_images", None) if computes else None
    if init_from_images is not None and isinstance(data, CifarDataModule):
        init_from_images(_sample_images(data))
    elif init_from_images is not None:
        init_from_images(next(iter(data.train_dataloader()))[0])
    if config.training.channels_last:
        use_channels_last(network)


def _sample_images(data: CifarDataModule) -> Tensor:
    """Return evenly spaced training images as the network gets them: float32 (N, 3, side, side)."""
    side = data.config.data.side
    number = min(WHITENING_IMAGES, WHITENING_IMAGES * IMAGE_SIDE**2 // side**2)
    every = max(1, len(data.split.train) // number)
    images = data.folder.map_images("train")
    chosen = torch.from_numpy(images[data.split.train[::every][:number]])
    return network_input(chosen, torch.tensor(data.mean), torch.tensor(data.std), side=side)
