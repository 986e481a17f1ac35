"""Training steps of a run outside of a Trainer, to measure their memory and time before the run begins."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import nn

from cifar100.config import Config, TrainingConfig
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.splits import Split
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.data.loading.epoch_loader import Batch
from cifar100.devices import choose_precision, wait_for
from cifar100.training.experiment import assemble
from cifar100.training.finetuning.features import sample_features
from cifar100.training.optimization.clock import StandingClock
from cifar100.training.optimization.ema import AveragedWeights
from cifar100.training.optimization.optimizers import build_optimizer
from cifar100.training.preflight.custom_parts import CustomParts

LEARNING_RATE = 1e-6
"""Small, so that no trial diverges: numbers that are not finite take another time."""


@dataclass(frozen=True)
class Subject:
    """What is measured: the settings of a run, its data and its custom parts."""

    config: Config
    info: DatasetInfo
    split: Split | None
    parts: CustomParts

    def with_batch_size(self, images: int) -> Subject:
        """Return the same with another batch size."""
        return replace(self, config=replace(self.config, data=replace(self.config.data, batch_size=images)))


@dataclass(frozen=True)
class Seconds:
    """Time of a step."""

    batch: float
    """Reading and augmenting the images, in this process."""

    compute: float
    """Forward and backward pass, optimizer and average of the weights."""


class Trial:
    """Takes training steps as a run would, at its largest images, on a network of its own.

    The trial reads the images of the `images` pipeline without worker processes. The random state does not matter to
    the run, which sets it when it builds its own network.

    Args:
        subject: its batch size is a number.
        device: where to train.
    """

    def __init__(self, subject: Subject, *, device: torch.device) -> None:
        config, parts = subject.config, subject.parts
        if isinstance(parts.network, nn.Module):
            parts = replace(parts, network=copy.deepcopy(parts.network))
        if config.data.pipeline == "images" and parts.datamodule is None:
            config = replace(config, data=replace(config.data, num_workers=0))
        config = replace(config, optimization=replace(config.optimization, learning_rate=LEARNING_RATE))
        clock = StandingClock(progress_at_largest_images(config.training))
        experiment = assemble(config, subject.info, subject.split, clock=clock, parts=parts)
        if config.model.cache_features:
            experiment, _ = sample_features(experiment, num_images=2)
        self.device = device
        if isinstance(experiment.data, CifarDataModule):
            experiment.data.device_without_trainer = device
        self._data = experiment.data
        self._module = experiment.module.to(device).train()
        self._optimizer = build_optimizer(self._module.network, config.optimization, LEARNING_RATE)
        averages = config.optimization.ema_decay is not None
        self._average = AveragedWeights(self._module.network) if averages else None
        self._precision = choose_precision(config.training.precision, device.type)
        self._batches = self._endless_batches()

    def step(self) -> Seconds:
        """Take a step, and wait for the device."""
        started = time.perf_counter()
        images, labels = next(self._batches)
        read = time.perf_counter()
        with self._autocast():
            loss = self._module.training_step((images, labels), 0)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        if self._average is not None:
            self._average.update(0.9)
        wait_for(self.device)
        return Seconds(read - started, time.perf_counter() - read)

    def _endless_batches(self) -> Iterator[Batch]:
        loader = self._data.train_dataloader()
        while True:
            for images, labels in loader:
                batch = images.to(self.device), labels.to(self.device)
                yield self._data.on_after_batch_transfer(batch, 0)

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = torch.float16 if self._precision == "16-mixed" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self._precision != "32-true")


def progress_at_largest_images(training: TrainingConfig) -> float:
    """Return a progress, 0 to 1, at which the training images have their largest size."""
    sides = training.resolutions or (0,)  # one for the whole run, whatever it is
    starts = (0.0, *(training.resolution_changes or ()))
    return starts[sides.index(max(sides))]
