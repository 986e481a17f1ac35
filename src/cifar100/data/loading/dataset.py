"""The dataset of the `images` pipeline: reads image files and augments them one at a time with Albumentations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cifar100.data.folder.image_files import read_image
from cifar100.data.sampler import Key, place_generator

if TYPE_CHECKING:
    import albumentations as A

# OpenCV's own threads can hang a worker process that was forked while they ran. They gain nothing on a 32x32 image.
# Every process that reads images imports this module: the main process before it starts workers, and each worker.
cv2.setNumThreads(0)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged file is a UserError instead


class ImageFileDataset(Dataset[tuple[torch.Tensor, int]]):
    """Image files with labels, each as (uint8 (3, 32, 32) RGB, label).

    `dataset[index]` is the image as augmented in epoch 0, `dataset[epoch, index]` in any epoch. The random parameters
    depend only on (seed, epoch, index), not on the worker. Albumentations by itself repeats its random parameters in
    every worker and every epoch.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[str],
        labels: NDArray[np.int64],
        *,
        transform: A.Compose | None = None,
        seed: int = 0,
    ) -> None:
        """Args: folder: to which `files` are relative. labels: int64 (N,)."""
        self.folder = folder
        self.files = files
        self.labels = labels
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: int | Key) -> tuple[torch.Tensor, int]:
        epoch, index = (0, key) if isinstance(key, int) else key
        image = read_image(self.folder / self.files[index])
        if self.transform is not None:
            image = augment_image(image, self.transform, place_generator(self.seed, epoch, index))
        planar = np.ascontiguousarray(image.transpose(2, 0, 1))  # (32, 32, 3) -> (3, 32, 32)
        return torch.from_numpy(planar), int(self.labels[index])


def augment_image(image: NDArray[np.uint8], transform: A.Compose, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Apply `transform` with random parameters from `generator`, which all transforms share.

    Albumentations' own `set_random_seed` gives each transform the same seed: an image would be flipped exactly when it
    is rotated.
    """
    transform.set_random_state(generator, random.Random(int(generator.integers(2**63))))
    augmented: NDArray[np.uint8] = transform(image=image)["image"]
    return augmented
