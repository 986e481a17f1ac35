"""Random shift, scale and rotation in one bilinear warp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cifar100.config.types import Fraction, NeedsAny, Probability, Range
from cifar100.data.augmentation.base import Augmentation, ImageRandom
from cifar100.data.image_batches import replace_images, to_device


@dataclass(frozen=True, kw_only=True)
class AffineParameters:
    """The n images of a batch that are warped, and how."""

    images: Tensor
    """int64 (n,): their positions in the batch."""

    shift_pixels: Tensor
    """float32 (n, 2): to the right, and down."""

    scale: Tensor
    """float32 (n,): above 1 enlarges."""

    rotate_degrees: Tensor
    """float32 (n,): counter-clockwise."""


@dataclass(frozen=True, kw_only=True)
class Affine(Augmentation):
    """Scale and rotate about the centre, then shift; borders continue by reflection (reflect_101)."""

    order = 30

    shift: Fraction = 0.0
    """Affine: maximum shift in each direction, as a fraction of the image side."""

    scale: Annotated[float, Range(0, 0.9)] = 0.0
    """Affine: maximum relative change of size."""

    rotate: Annotated[float, Range(0, 180)] = 0.0
    """Affine: maximum rotation in degrees."""

    affine_probability: Annotated[
        Probability, NeedsAny("augmentation.shift", "augmentation.scale", "augmentation.rotate")
    ] = 0.5
    """Probability that shift, scale and rotation are applied to an image."""

    @property
    def enabled(self) -> bool:
        """Whether the settings switch it on."""
        return bool(self.shift or self.scale or self.rotate)

    def draw(self, random: ImageRandom) -> AffineParameters:
        """Choose the images, and draw uniformly up to the maxima."""
        pixels = self.shift * random.side
        chosen = random.uniform() < self.affine_probability
        shift = torch.stack([random.uniform(-pixels, pixels), random.uniform(-pixels, pixels)], dim=1)
        scale = random.uniform(1 - self.scale, 1 + self.scale)
        rotate = random.uniform(-self.rotate, self.rotate)
        return AffineParameters(
            images=chosen.nonzero().squeeze(1),
            shift_pixels=shift[chosen],
            scale=scale[chosen],
            rotate_degrees=rotate[chosen],
        )

    def apply(self, images: Tensor, parameters: AffineParameters) -> Tensor:
        """Warp the chosen images; pixels are rounded to whole values, as OpenCV does."""
        side = images.shape[3]
        rows = to_device(parameters.images, images.device)
        source = images.index_select(0, rows).float()
        grid = _affine_grid(to_device(_inverse_matrices(parameters, side=side), images.device), side)
        # With align_corners, -1 and 1 are the centres of the outermost pixels: reflection there is reflect_101.
        warped = F.grid_sample(source, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
        return replace_images(images, rows, warped.add_(0.5).to(torch.uint8))

    def transforms(self, *, side: int) -> list[Any]:
        """Return Albumentations' warp, with shifts of any fraction of a pixel."""
        from cifar100.data.augmentation.single_image import ShiftScaleRotate, cv2

        warp = ShiftScaleRotate(
            translate_percent=dict.fromkeys("xy", (-self.shift, self.shift)),
            scale=(1 - self.scale, 1 + self.scale),
            keep_ratio=True,
            rotate=(-self.rotate, self.rotate),
            interpolation=cv2.INTER_LINEAR,
            border_mode=cv2.BORDER_REFLECT_101,
            p=self.affine_probability,
        )
        return [warp]


def _inverse_matrices(parameters: AffineParameters, *, side: int) -> Tensor:
    """Return float32 (n, 2, 3): from a place in the result to its place in the source, both (x, y, 1) in -1..1."""
    radians = torch.deg2rad(parameters.rotate_degrees)
    cos, sin = torch.cos(radians) / parameters.scale, torch.sin(radians) / parameters.scale
    shift_x, shift_y = (parameters.shift_pixels / ((side - 1) / 2)).unbind(1)
    x = torch.stack([cos, -sin, sin * shift_y - cos * shift_x], dim=1)
    y = torch.stack([sin, cos, -sin * shift_x - cos * shift_y], dim=1)
    return torch.stack([x, y], dim=1)


def _affine_grid(matrices: Tensor, side: int) -> Tensor:
    """Return float32 (n, side, side, 2), as `F.affine_grid(..., align_corners=True)` does, several times as fast.

    It has no matrix product, so the bits of an image do not depend on the other images of the batch.
    """
    axis = torch.linspace(-1, 1, side, device=matrices.device)
    along_x, along_y, constant = matrices[..., None].unbind(2)  # (n, 2, 1) each
    from_column = along_x * axis + constant
    from_row = along_y * axis
    grid = from_row[..., :, None] + from_column[..., None, :]  # (n, 2, side, side)
    return grid.permute(0, 2, 3, 1)
