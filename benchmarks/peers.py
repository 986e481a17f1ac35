"""The augmentation of the recipe `original` as users of other libraries write it. For `input_pipeline.py`.

Datasets return uint8 (3, 32, 32) and a label. The caller normalises the batch, as in our pipelines; for the peers this
is faster than normalising each image.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from cifar100.config import AugmentationConfig
from cifar100.data.dataset_info import IMAGE_SIDE

Sample = tuple[Tensor, int]


class AlbumentationsImages(Dataset[Sample]):
    """Albumentations on one image at a time, with its own random parameters, from PNG files or from an array.

    images: paths of PNG files, or uint8 (N, 3, 32, 32).
    """

    def __init__(
        self, images: list[Path] | NDArray[np.uint8], labels: NDArray[np.int64], augmentation: AugmentationConfig
    ) -> None:
        from cifar100.data.augmentation.single_image import build_transform

        self.images = images
        self.labels = labels
        self.transform = build_transform(augmentation)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        source = self.images[index]
        if isinstance(source, Path):
            bgr = cv2.imread(str(source))
            assert bgr is not None, source
            image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        else:
            image = np.ascontiguousarray(source.transpose(1, 2, 0))
        augmented = self.transform(image=image)["image"]
        return torch.from_numpy(np.ascontiguousarray(augmented.transpose(2, 0, 1))), int(self.labels[index])


class TorchvisionImages(Dataset[Sample]):
    """torchvision's v2 transforms on one tensor at a time; on a batch they would draw once for all its images.

    Its affine cannot reflect at the border and fills with black instead, which is less work.
    images: uint8 (N, 3, 32, 32).
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], augmentation: AugmentationConfig) -> None:
        self.images = images
        self.labels = labels
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return self.transform(torch.from_numpy(self.images[index])), int(self.labels[index])

    @cached_property
    def transform(self) -> Any:
        """The transforms, built in each worker, which has to load torchvision in its own way first."""
        load_torchvision()
        v2 = importlib.import_module("torchvision.transforms.v2")
        settings = self.augmentation
        affine = v2.RandomAffine(
            degrees=settings.rotate,
            translate=(settings.shift, settings.shift),
            scale=(1 - settings.scale, 1 + settings.scale),
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        hole = (settings.cutout / IMAGE_SIDE) ** 2
        return v2.Compose(
            [
                v2.RandomHorizontalFlip(p=0.5),
                v2.RandomApply([affine], p=settings.affine_probability),
                v2.RandomErasing(p=settings.cutout_probability, scale=(hole, hole), ratio=(1.0, 1.0), value=0),
            ]
        )


def kornia_augmentation(augmentation: AugmentationConfig) -> nn.Module:
    """Return kornia's augmentation of whole batches, each image with its own random parameters.

    It maps float32 (N, 3, 32, 32) in 0..1 to the same.
    """
    kornia = importlib.import_module("kornia.augmentation")
    hole = (augmentation.cutout / IMAGE_SIDE) ** 2
    return nn.Sequential(
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomAffine(
            degrees=augmentation.rotate,
            translate=(augmentation.shift, augmentation.shift),
            scale=(1 - augmentation.scale, 1 + augmentation.scale),
            padding_mode="reflection",
            align_corners=True,
            p=augmentation.affine_probability,
        ),
        kornia.RandomErasing(p=augmentation.cutout_probability, scale=(hole, hole), ratio=(1.0, 1.0), value=0.0),
    )


def load_torchvision() -> None:
    """Import torchvision, also where its compiled operators cannot be loaded.

    The releases on PyPI are built for CUDA. Beside a CPU build of torch the import stops at operators for object
    detection, which no transform uses; they are declared, and left without a body.

    Raises:
        ImportError: it is not installed, or fails for another reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise ImportError(str(error)) from error
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        importlib.import_module("torchvision")


def reason_missing(package: str) -> str:
    """Return why a peer cannot take part, `not installed` or the error of its import; empty where it can."""
    try:
        load_torchvision() if package == "torchvision" else importlib.import_module(package)
    except ModuleNotFoundError:
        return "not installed"
    except (ImportError, OSError, RuntimeError) as error:
        return f"cannot be imported: {' '.join(str(error).split())[:50]}"
    return ""


# At once, because Lightning's torchmetrics imports torchvision wherever there is one.
with contextlib.suppress(ImportError):
    load_torchvision()
