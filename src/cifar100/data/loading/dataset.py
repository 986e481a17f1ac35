"""The datasets of the `images` pipeline: images one at a time, augmented with Albumentations."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cifar100.data.dataset_info import IMAGE_SIDE
from cifar100.data.folder.csv_labels import read_labels
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.layout import DataFolder
from cifar100.data.sampler import Key, place_generator

if TYPE_CHECKING:
    import albumentations as A

# OpenCV's own threads can hang a worker process that was forked while they ran. They gain nothing on a 32x32 image.
# Every process that reads images imports this module: the main process before it starts workers, and each worker.
cv2.setNumThreads(0)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged file is a UserError instead


class ImageDataset(Dataset[tuple[torch.Tensor, int]], ABC):
    """Images one by one, each as (uint8 (3, S, S) RGB, label).

    `dataset[index]` is the image as augmented in epoch 0, `dataset[epoch, index]` in any epoch. The random parameters
    depend only on (seed, epoch, index), and on the place in the epoch if the sampler gives one, not on the worker.
    Albumentations by itself repeats its random parameters in every worker and every epoch.
    """

    def __init__(self, labels: NDArray[np.int64], *, side: int, transform: A.Compose | None, seed: int) -> None:
        self.labels = labels
        self.side = side
        self.transform = transform
        self.seed = seed

    @abstractmethod
    def read(self, index: int) -> NDArray[np.uint8]:
        """Return an image as uint8 (S, S, 3)."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | Key) -> tuple[torch.Tensor, int]:
        epoch, index, *place = (0, key) if isinstance(key, int) else key
        image = self.read(index)
        if self.transform is not None:
            image = augment_image(image, self.transform, place_generator(self.seed, epoch, index, *place))
        planar = np.ascontiguousarray(image.transpose(2, 0, 1))  # (S, S, 3) -> (3, S, S)
        return torch.from_numpy(planar), int(self.labels[index])


class CsvImageDataset(ImageDataset):
    """The image files of a release, which its CSV file lists, of 32x32 pixels."""

    def __init__(
        self,
        csv_file: Path,
        images_folder: Path,
        *,
        transform: A.Compose | None = None,
        seed: int = 0,
        num_classes: int | None = None,
    ) -> None:
        self.files, labels = read_labels(csv_file, num_classes=num_classes)
        self.images_folder = images_folder
        super().__init__(labels, side=IMAGE_SIDE, transform=transform, seed=seed)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Read an image file."""
        return read_image(self.images_folder / self.files[index])


class PreparedImageDataset(ImageDataset):
    """The training images of custom data as they were prepared. Each process maps their array."""

    def __init__(self, folder: DataFolder, *, transform: A.Compose | None = None, seed: int = 0) -> None:
        self._folder = folder
        self._images: NDArray[np.uint8] | None = None
        super().__init__(folder.load_labels("train"), side=folder.image_size, transform=transform, seed=seed)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Copy an image from the array."""
        if self._images is None:
            self._images = self._folder.map_images("train")
        return np.ascontiguousarray(self._images[index].transpose(1, 2, 0))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the map, whose whole content would be sent to a worker."""
        return self.__dict__ | {"_images": None}


def augment_image(image: NDArray[np.uint8], transform: A.Compose, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Apply `transform` with random parameters from `generator`, which all transforms share.

    Albumentations' own `set_random_seed` gives each transform the same seed: an image would be flipped exactly when it
    is rotated.
    """
    transform.set_random_state(generator, random.Random(int(generator.integers(2**63))))
    augmented: NDArray[np.uint8] = transform(image=image)["image"]
    return augmented
