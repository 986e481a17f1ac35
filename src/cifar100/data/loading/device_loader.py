"""All images of a data set in device memory; batches of them are picked, augmented and normalised there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.draws import IMAGE_SIDE, draw
from cifar100.data.augmentation.mixing import draw_mix, mix_images, mix_labels
from cifar100.data.augmentation.operations import augment_batch, normalize, resize
from cifar100.data.loading.epoch_loader import Batch, EpochLoader
from cifar100.data.sampler import EpochSampler


class DeviceLoader(EpochLoader):
    """Yields images float32 (N, 3, side, side), normalised, and labels, on the device where they are held.

    Labels are int64 (N,), or float32 (N, num_classes) in batches that mixup or CutMix has blended. Order and draws are
    functions of (seed, epoch, step) alone. Nothing here waits for the device.

    images: uint8 (all, 3, 32, 32), 154 MB for CIFAR-100, and labels: int64 (all,), on the device; loaders of several
    splits share them, and the sampler says which images are whose.
    side: gives the side in pixels of the batch that is asked for next, for progressive resizing.
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
        num_classes: int = 100,
        side: Callable[[], int] = lambda: IMAGE_SIDE,
        channels_last: bool = False,
    ) -> None:
        super().__init__(sampler)
        self.images = images
        self.labels = labels
        self.mean = torch.tensor(mean, device=images.device)
        self.std = torch.tensor(std, device=images.device)
        self.augmentation = augmentation
        self.num_classes = num_classes
        self.side = side
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def _batches(self) -> Iterator[Batch]:
        first_step = self.sampler.first_step
        batches = self.sampler.batches()[first_step:]
        # One transfer for the whole epoch; its batches are views of it.
        indices = torch.from_numpy(np.concatenate(batches)).to(self.images.device)
        chosen = torch.split(indices, [len(batch) for batch in batches])
        for step, batch in enumerate(batches, start=first_step):
            rows = chosen[step - first_step]
            images, labels = self.images.index_select(0, rows), self.labels.index_select(0, rows)
            if self.augmentation is None:
                yield self._to_network(images, IMAGE_SIDE), labels
                continue
            side = self.side()
            mix = draw_mix(self.augmentation, len(batch), side=side, sampler=self.sampler, step=step)
            draws = draw(self.augmentation, batch, sampler=self.sampler, step=step)
            if mix is not None and not self.augmentation.cutout_mixed:
                draws = replace(draws, hole=None)
            images = self._to_network(augment_batch(images, draws), side)
            if mix is not None:
                images, labels = mix_images(images, mix), mix_labels(labels, mix, num_classes=self.num_classes)
            yield images, labels

    def _to_network(self, images: Tensor, side: int) -> Tensor:
        """Normalise and resize, in the network's memory layout."""
        images = normalize(images, self.mean, self.std).contiguous(memory_format=self.memory_format)
        return resize(images, side)


def resolution_at(progress: float, resolutions: Sequence[int], changes: Sequence[float]) -> int:
    """Return which of `resolutions` holds at `progress`; each but the first begins at the number in `changes`."""
    return resolutions[bisect_right(changes, progress)]
