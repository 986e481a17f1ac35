"""Cutout: a black square (DeVries and Taylor, 2017; here always wholly inside the image)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from cifar100.config.types import Needs, NeedsAny, Probability, Range
from cifar100.data.augmentation.base import Augmentation, ImageRandom, scaled_pixels
from cifar100.data.image_batches import inside_boxes


@dataclass(frozen=True, kw_only=True)
class Cutout(Augmentation):
    """Fill a square of an image with black."""

    order = 50

    cutout: Annotated[int, Range(0, 32)] = 0
    """Side of a square hole filled with black, at a random place; 0 is off. Pixels of a 32x32 image: in larger images
    the hole is as many times larger."""

    cutout_probability: Annotated[Probability, Needs("augmentation.cutout")] = 0.5
    """Probability that an image gets the hole."""

    cutout_mixed: Annotated[
        bool,
        Needs("augmentation.cutout"),
        NeedsAny("augmentation.mixup_probability", "augmentation.cutmix_probability"),
    ] = True
    """Whether batches that mixup or CutMix blends get the hole as well."""

    @property
    def enabled(self) -> bool:
        """Whether the settings switch it on."""
        return self.cutout > 0

    @property
    def applies_to_mixed(self) -> bool:
        """Whether it changes batches that a `Mixing` is about to blend."""
        return self.cutout_mixed

    def draw(self, random: ImageRandom) -> Tensor:
        """Draw the first row and column of each hole, int64 (N, 2); outside the image if it gets none."""
        corners = random.integers(random.side - scaled_pixels(self.cutout, random.side) + 1)
        corners[random.uniform() >= self.cutout_probability] = random.side
        return corners

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Fill the holes with black."""
        length = scaled_pixels(self.cutout, images.shape[3])
        boxes = torch.cat([parameters, torch.full_like(parameters, length)], dim=1)
        return images * ~inside_boxes(images, boxes)

    def transforms(self, *, side: int) -> list[Any]:
        """Return Albumentations' hole."""
        from cifar100.data.augmentation.single_image import A

        length = (scaled_pixels(self.cutout, side),) * 2
        hole = A.CoarseDropout(
            num_holes_range=(1, 1), hole_height_range=length, hole_width_range=length, fill=0, p=self.cutout_probability
        )
        return [hole]
