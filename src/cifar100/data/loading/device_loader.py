"""All images of a data set in memory; batches are selected, and augmented and normalised on the device."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.base import BatchRandom, JointRandom, Mixing, choose_mixing
from cifar100.data.augmentation.registry import build_augmentations, build_mixings
from cifar100.data.image_batches import network_input, resize, to_device
from cifar100.data.loading.epoch_loader import Batch, EpochLoader
from cifar100.data.sampler import EpochSampler

IMAGES_AT_ONCE = 512
"""Small batches are augmented together up to this number of images. An operation on 64 images takes hardly longer than
its start, on a CPU as on a GPU."""


class DeviceLoader(EpochLoader):
    """Yields images float32 (N, 3, side, side), normalised, and labels, on the device that holds the labels.

    Labels are int64 (N,), or float32 (N, num_classes) in batches that mixup or CutMix has blended. The order and the
    random parameters are functions of (seed, epoch, step). Nothing here waits for the device.

    Args:
        images: uint8 (all, 3, S, S), 3 S^2 bytes each: 154 MB for the 50,000 of CIFAR-100. On the device; or on the
            host, from where each batch is sent. Loaders of several splits share them.
        labels: int64 (all,), on the device.
        sampler: chooses the images of this loader.
        mean: channel means of pixels in 0..1.
        std: channel standard deviations of pixels in 0..1.
        augmentation: settings of the augmentations, such as `AugmentationConfig`; None leaves the images unchanged.
        num_classes: width of the label probabilities of blended batches.
        side: side in pixels of the images that are yielded; None: as they are.
        resolution: returns the side of the next training batch, for progressive resizing; None: always `side`.
        channels_last: yield images in the (N, H, W, C) memory layout.
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
        side: int | None = None,
        resolution: Callable[[], int] | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__(sampler)
        self.images = images
        self.labels = labels
        self.mean = torch.tensor(mean, device=labels.device)
        self.std = torch.tensor(std, device=labels.device)
        self.augmentations = build_augmentations(augmentation) if augmentation is not None else []
        self.mixings = build_mixings(augmentation) if augmentation is not None else []
        self.num_classes = num_classes
        self.side = side or images.shape[3]
        self.resolution = resolution if sampler.training else None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def _batches(self) -> Iterator[Batch]:
        step = self.sampler.first_step
        batches = self.sampler.batches()[step:]
        number = self._batches_at_once()
        groups = [batches[start : start + number] for start in range(0, len(batches), number)]
        # One transfer for the whole epoch; its groups are views of it.
        indices = torch.from_numpy(np.concatenate(batches)).to(self.labels.device)
        chosen = torch.split(indices, [sum(map(len, group)) for group in groups])
        for group, rows in zip(groups, chosen, strict=True):
            yield from self._group(group, rows, step)
            step += len(group)

    def _batches_at_once(self) -> int:
        """Return how many batches are augmented together."""
        alone = not self.augmentations or self.mixings or any(one.needs_a_batch for one in self.augmentations)
        return 1 if alone else max(1, IMAGES_AT_ONCE // self.sampler.batch_size)

    def _group(self, batches: list[NDArray[np.int64]], rows: Tensor, first_step: int) -> Iterator[Batch]:
        """Augment batches together, then yield one after the other. rows: all of their images, on the device."""

        def random(augmentation: object, number: int = 0) -> BatchRandom:
            name, side, step = type(augmentation).__name__, self.images.shape[3], first_step + number
            return BatchRandom(name, batches[number], sampler=self.sampler, step=step, side=side)

        mixed = choose_mixing(self.mixings, random)  # batches that are mixed come alone
        images = self._images(np.concatenate(batches), rows)
        for augmentation in self.augmentations:
            if mixed is None or augmentation.applies_to_mixed:
                numbers = [random(augmentation, number) for number in range(len(batches))]
                parameters = augmentation.draw(numbers[0] if len(numbers) == 1 else JointRandom(numbers))
                images = augmentation.apply(images, parameters)
        sizes = [len(batch) for batch in batches]
        labels = self.labels.index_select(0, rows)
        for its_images, its_labels in zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True):
            yield self._finished(its_images, its_labels, mixed)

    def _images(self, batch: NDArray[np.int64], rows: Tensor) -> Tensor:
        """Return the images of a batch on the device. rows: the batch, on the device."""
        if self.images.device == self.labels.device:
            return self.images.index_select(0, rows)
        return to_device(self.images.index_select(0, torch.from_numpy(batch)), self.labels.device)

    def _finished(self, images: Tensor, labels: Tensor, mixed: tuple[Mixing, Any] | None) -> Batch:
        """Normalise, resize and mix an augmented batch, as far as the settings say so."""
        side = self.side if self.resolution is None else self.resolution()
        scaled = None if images.shape[3] == self.side else side
        images = network_input(images, self.mean, self.std, side=scaled, memory_format=self.memory_format)
        images = resize(images, side)
        if mixed is None:
            return images, labels
        mixing, parameters = mixed
        return mixing.apply(images, labels, parameters, num_classes=self.num_classes)


def resolution_at(progress: float, resolutions: Sequence[int], changes: Sequence[float]) -> int:
    """Return which of `resolutions` holds at `progress`; each but the first begins at the number in `changes`."""
    return resolutions[bisect_right(changes, progress)]
