"""Random erasing: a rectangle of noise (Zhong, Zheng, Kang, Li and Yang, 2020).

The largest rectangle is a third of the image, as in timm and torchvision; the paper's is 40 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from cifar100.config.types import Needs, NeedsAny, Probability
from cifar100.data.augmentation.base import Augmentation, BatchRandom
from cifar100.data.image_batches import inside_boxes, to_device


@dataclass(frozen=True, kw_only=True)
class ErasingParameters:
    """The rectangles of N images, and what fills them."""

    boxes: Tensor
    """int64 (N, 4): first row, first column, height, width; height 0 erases nothing."""

    noise: Tensor
    """uint8 (3, side, side), one for the batch."""


@dataclass(frozen=True, kw_only=True)
class RandomErasing(Augmentation):
    """Fill a rectangle of an image with noise."""

    order = 60
    needs_a_batch = True  # its images share the noise

    random_erasing_probability: Annotated[Probability, Needs("data.pipeline", "packed")] = 0.0
    """Probability that a rectangle of 2 % to a third of an image is filled with noise (`packed` pipeline only)."""

    random_erasing_mixed: Annotated[
        bool,
        Needs("augmentation.random_erasing_probability"),
        NeedsAny("augmentation.mixup_probability", "augmentation.cutmix_probability"),
    ] = True
    """Whether batches that mixup or CutMix blends are erased as well."""

    @property
    def enabled(self) -> bool:
        """Whether the settings switch it on."""
        return self.random_erasing_probability > 0

    @property
    def applies_to_mixed(self) -> bool:
        """Whether it changes batches that a `Mixing` is about to blend."""
        return self.random_erasing_mixed

    def draw(self, random: BatchRandom) -> ErasingParameters:
        """Draw rectangles of 2 % to a third of the image with an aspect ratio of 1/3.3 to 3.3, and noise."""
        side = random.side
        area = random.uniform(0.02, 1 / 3) * side**2
        ratio = 3.3 ** random.uniform(-1, 1)  # log-uniform
        height = torch.sqrt(area * ratio).round().clamp(1, side)
        width = torch.sqrt(area / ratio).round().clamp(1, side)
        top = torch.floor(random.uniform() * (side - height + 1))
        left = torch.floor(random.uniform() * (side - width + 1))
        height = torch.where(random.uniform() < self.random_erasing_probability, height, 0.0)
        return ErasingParameters(
            boxes=torch.stack([top, left, height, width], dim=1).long(),
            noise=torch.randint(256, (3, side, side), generator=random.generator, dtype=torch.uint8),
        )

    def apply(self, images: Tensor, parameters: ErasingParameters) -> Tensor:
        """Fill the rectangles with the noise at their place."""
        noise = to_device(parameters.noise, images.device)
        return torch.where(inside_boxes(images, parameters.boxes), noise, images)
