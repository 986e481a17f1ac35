"""All images of a data set in device memory; batches of them are picked, augmented and normalised there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cifar100.config import AugmentationConfig
from cifar100.data.augment import augment_batch, normalize
from cifar100.data.draws import draw
from cifar100.data.sampler import Batch, EpochLoader, EpochSampler


class DeviceLoader(EpochLoader):
    """Yields images float32 (N, 3, 32, 32), normalised, and labels int64 (N,), on the device where they are held.

    Order and draws are functions of (seed, epoch, step) alone. Nothing here waits for the device.

    images: uint8 (all, 3, 32, 32), 154 MB for CIFAR-100, and labels: int64 (all,), on the device; loaders of several
    splits share them, and the sampler says which images are whose.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        sampler: EpochSampler,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        augmentation: AugmentationConfig | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__(sampler)
        self.images = images
        self.labels = labels
        self.mean = torch.tensor(mean, device=images.device)
        self.std = torch.tensor(std, device=images.device)
        self.augmentation = augmentation
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def _batches(self) -> Iterator[Batch]:
        first_step = self.sampler.first_step
        batches = self.sampler.batches()[first_step:]
        # One transfer for the whole epoch; its batches are views of it.
        indices = torch.from_numpy(np.concatenate(batches)).to(self.images.device)
        chosen = torch.split(indices, [len(batch) for batch in batches])
        for step, batch in enumerate(batches, start=first_step):
            rows = chosen[step - first_step]
            images = self.images.index_select(0, rows)
            if self.augmentation is not None:
                images = augment_batch(images, draw(self.augmentation, batch, sampler=self.sampler, step=step))
            images = normalize(images, self.mean, self.std).contiguous(memory_format=self.memory_format)
            yield images, self.labels.index_select(0, rows)
