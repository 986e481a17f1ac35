"""The augmentation of one image with Albumentations; the only module that imports it."""

from __future__ import annotations

import os
import warnings

import cv2

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.registry import build_augmentations
from cifar100.data.dataset_info import IMAGE_SIDE

# At import, Albumentations asks the network for a newer version unless this is set.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A

__all__ = ["A", "ShiftScaleRotate", "build_transform", "cv2"]


class ShiftScaleRotate(A.Affine):  # type: ignore[misc]
    """`A.Affine` with a shift that is not rounded towards zero.

    Albumentations 2.0.8 truncates a shift to whole pixels, also in its own ShiftScaleRotate: of a uniform shift of up
    to 2 pixels it makes 0 in half of the cases and never 2.
    """

    def _get_translate_params(self, image_shape: tuple[int, int]) -> dict[str, float]:
        height, width = image_shape[:2]
        return {
            "x": self.py_random.uniform(*self.translate_percent["x"]) * width,
            "y": self.py_random.uniform(*self.translate_percent["y"]) * height,
        }


def build_transform(config: AugmentationConfig, *, side: int = IMAGE_SIDE) -> A.Compose:
    """Build the transform of one image (side, side, 3) that equals the augmentations of a batch, in the same order.

    Raises:
        NotImplementedError: an augmentation is for whole batches only.
        UserWarning: Albumentations does not know an argument; by default it would only warn and ignore it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augmentations = build_augmentations(config)
        return A.Compose([transform for one in augmentations for transform in one.transforms(side=side)])
