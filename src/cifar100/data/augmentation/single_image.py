"""The augmentation of one image with Albumentations; the only module that imports it."""

from __future__ import annotations

import os
import warnings
from typing import Any

import cv2

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.draws import IMAGE_SIDE

# At import, Albumentations asks the network for a newer version unless this is set.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A


class ShiftScaleRotate(A.Affine):  # type: ignore[misc]
    """`A.Affine` with a shift that is not cut off to whole pixels.

    Albumentations 2.0.8 does that, also in its own ShiftScaleRotate: of a shift of up to 2 pixels drawn uniformly it
    makes 0 in half of the cases and never 2.
    """

    def _get_translate_params(self, image_shape: tuple[int, int]) -> dict[str, float]:
        height, width = image_shape[:2]
        return {
            "x": self.py_random.uniform(*self.translate_percent["x"]) * width,
            "y": self.py_random.uniform(*self.translate_percent["y"]) * height,
        }


def build_transform(augmentation: AugmentationConfig) -> A.Compose:
    """Build what `augment.augment_batch` does to whole batches, in the same order, for images (32, 32, 3).

    Raises:
        UserWarning: Albumentations does not know an argument; left to itself, it merely warns and goes on without.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return A.Compose(_transforms(augmentation))


def _transforms(augmentation: AugmentationConfig) -> list[Any]:
    transforms: list[Any] = []
    if augmentation.crop_padding:
        transforms.append(A.Pad(padding=augmentation.crop_padding, border_mode=cv2.BORDER_REFLECT_101))
        transforms.append(A.RandomCrop(IMAGE_SIDE, IMAGE_SIDE))
    if augmentation.flip == "random":
        transforms.append(A.HorizontalFlip(p=0.5))
    if augmentation.shift or augmentation.scale or augmentation.rotate:
        transforms.append(
            ShiftScaleRotate(
                translate_percent=dict.fromkeys("xy", (-augmentation.shift, augmentation.shift)),
                scale=(1 - augmentation.scale, 1 + augmentation.scale),
                keep_ratio=True,
                rotate=(-augmentation.rotate, augmentation.rotate),
                interpolation=cv2.INTER_LINEAR,
                border_mode=cv2.BORDER_REFLECT_101,
                p=augmentation.affine_probability,
            )
        )
    if augmentation.cutout:
        side = (augmentation.cutout, augmentation.cutout)
        transforms.append(
            A.CoarseDropout(
                num_holes_range=(1, 1),
                hole_height_range=side,
                hole_width_range=side,
                fill=0,
                p=augmentation.cutout_probability,
            )
        )
    return transforms
