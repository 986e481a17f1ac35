"""Horizontal flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cifar100.data.augmentation.base import Augmentation, ImageRandom
from cifar100.data.image_batches import replace_images, to_device


@dataclass(frozen=True, kw_only=True)
class Flip(Augmentation):
    """Mirror about half of the images left to right."""

    order = 20

    flip: Literal["none", "random", "alternating"] = "random"
    """Horizontal flip. `random`: each image with probability 0.5. `alternating`: a random half of the images in the
    first epoch, the other half in the next, and so on (`packed` pipeline only)."""

    @property
    def enabled(self) -> bool:
        """Whether the settings switch it on."""
        return self.flip != "none"

    def draw(self, random: ImageRandom) -> Tensor:
        """Choose the images to mirror, bool (N,)."""
        if self.flip == "alternating":
            return alternating_flip(random.images, seed=random.seed, epoch=random.epoch)
        return random.uniform() < 0.5

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Mirror the chosen images."""
        rows = to_device(parameters.nonzero().squeeze(1), images.device)
        return replace_images(images, rows, images.index_select(0, rows).flip(3))

    def transforms(self, *, side: int) -> list[Any]:
        """Return Albumentations' flip; there is none that alternates."""
        if self.flip == "alternating":
            return super().transforms(side=side)
        from cifar100.data.augmentation.single_image import A

        return [A.HorizontalFlip(p=0.5)]


def alternating_flip(images: NDArray[np.int64], *, seed: int, epoch: int) -> Tensor:
    """Choose a random half of the images in epoch 0, the other half in epoch 1, and so on. Returns bool (N,).

    Every image is thus seen both ways in any two consecutive epochs (Jordan, "94% on CIFAR-10 in 3.29 seconds on a
    single GPU", 2024). The choice is a hash of (seed, image).
    """
    side = _splitmix64(images.astype(np.uint64) + (np.uint64(seed) << np.uint64(32))) & np.uint64(1)
    return torch.from_numpy((side + np.uint64(epoch)) % np.uint64(2) == 1)


def _splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash each number (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
