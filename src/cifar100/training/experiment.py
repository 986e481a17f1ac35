"""Put a run together from its settings: split, data module, network, LightningModule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder, DatasetInfo
from cifar100.data.folder.splits import Split, stratified_split
from cifar100.data.image_batches import normalize
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.models import build_model, use_channels_last
from cifar100.training.lit_module import ImageClassifier
from cifar100.training.optimization.clock import RunClock, steps_of
from cifar100.training.optimization.distillation import load_teacher

WHITENING_IMAGES = 5000
"""Training images from which a network with `init_from_images` sets its first weights."""


@dataclass(frozen=True)
class Experiment:
    """Everything that a run consists of."""

    config: Config
    info: DatasetInfo
    split: Split
    data: CifarDataModule
    module: ImageClassifier
    clock: RunClock
    steps_per_epoch: int

    @property
    def images_per_step(self) -> float:
        """Training images of one optimizer step, over all processes; fewer than the batch size in a tiny data set."""
        return min(self.config.data.batch_size * self.config.training.num_processes, len(self.split.train))


def make_split(config: Config) -> Split:
    """Divide the prepared training images into training and validation images."""
    _, labels = DataFolder(config.data.root).load("train")
    return stratified_split(labels, fraction=config.data.validation_fraction, seed=config.data.split_seed)


def assemble(config: Config, info: DatasetInfo, split: Split, *, started: float | None = None) -> Experiment:
    """Build data module, network and LightningModule. The same settings give the same first weights.

    started: `time.monotonic()` at the start of the run, from which `training.max_minutes` counts; None is now.
    """
    data = CifarDataModule(config, info, split)
    training = config.training
    limit = training.limit_train_batches
    steps_per_epoch = data.steps_per_epoch if limit is None else min(limit, data.steps_per_epoch)
    max_seconds = None if training.max_minutes is None else 60 * training.max_minutes
    clock = RunClock(steps_of(training.max_epochs, steps_per_epoch), max_seconds=max_seconds, started=started)
    data.progress = lambda: clock.progress
    teacher = None
    if config.optimization.teacher is not None:
        teacher = load_teacher(config.optimization.teacher, info, split, mean=data.mean, std=data.std)
    torch.manual_seed(training.seed)
    network = build_model(config.model, info.num_classes)
    init_from_images = getattr(network, "init_from_images", None)
    if init_from_images is not None:
        init_from_images(_sample_images(data))
    if training.channels_last:
        use_channels_last(network)
    module = ImageClassifier(network, config, num_classes=info.num_classes, clock=clock, teacher=teacher)
    return Experiment(config, info, split, data, module, clock, steps_per_epoch)


def _sample_images(data: CifarDataModule) -> Tensor:
    """Return training images from all over the split, as the network sees them: float32 (N, 3, 32, 32), normalised."""
    every = max(1, len(data.split.train) // WHITENING_IMAGES)
    images, _ = data.folder.load("train")
    chosen = torch.from_numpy(images[data.split.train[::every][:WHITENING_IMAGES]])
    return normalize(chosen, torch.tensor(data.mean), torch.tensor(data.std))
