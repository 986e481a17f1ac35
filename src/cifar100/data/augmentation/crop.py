"""Random crop of the image padded by reflection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from cifar100.config.types import Range
from cifar100.data.augmentation.base import Augmentation, ImageRandom, scaled_pixels
from cifar100.data.image_batches import to_device


@dataclass(frozen=True, kw_only=True)
class Crop(Augmentation):
    """Pad each image by reflection and cut its original size out at random."""

    order = 10

    crop_padding: Annotated[int, Range(0, 31)] = 4
    """Random crop: pad by this many pixels by reflection, then cut out the original size at random; 0 is off. Pixels of
    a 32x32 image: larger images are padded by as many times more."""

    @property
    def enabled(self) -> bool:
        """Whether the settings switch it on."""
        return self.crop_padding > 0

    def draw(self, random: ImageRandom) -> Tensor:
        """Draw the first row and the first column of each cut in the padded image, int64 (N, 2)."""
        return random.integers(2 * scaled_pixels(self.crop_padding, random.side) + 1)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Cut every image out at its place."""
        height, width = images.shape[2:]
        padding = scaled_pixels(self.crop_padding, width)
        padded = reflect_pad(reflect_pad(images, padding, dim=3), padding, dim=2)
        # A view of all possible cuts, (N, 3, 2p + 1, 2p + 1, H, W), that holds nothing twice; one gather picks from it.
        cuts = padded.unfold(2, height, 1).unfold(3, width, 1)
        corners = to_device(parameters, images.device)
        return cuts[torch.arange(len(images), device=images.device), :, corners[:, 0], corners[:, 1]]

    def transforms(self, *, side: int) -> list[Any]:
        """Return Albumentations' pad and crop."""
        from cifar100.data.augmentation.single_image import A, cv2

        pad = A.Pad(padding=scaled_pixels(self.crop_padding, side), border_mode=cv2.BORDER_REFLECT_101)
        return [pad, A.RandomCrop(side, side)]


def reflect_pad(images: Tensor, padding: int, *, dim: int) -> Tensor:
    """Pad both ends of a dimension by reflection about the outermost pixels.

    `F.pad` does the same, but not for uint8 on CUDA and MPS.
    """
    length = images.shape[dim]
    before = images.narrow(dim, 1, padding).flip(dim)
    after = images.narrow(dim, length - 1 - padding, padding).flip(dim)
    return torch.cat([before, images, after], dim=dim)
