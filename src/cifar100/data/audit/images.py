"""The images that an audit looks at: both splits in one sequence, training first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cifar100.data.folder.image_files import image_file_names
from cifar100.data.folder.layout import DataFolder, DatasetInfo, Split
from cifar100.data.layouts.reading import list_images


@dataclass(frozen=True, kw_only=True)
class ImageList:
    """What identifies the images of a data folder. A position counts the training images, then the test images."""

    info: DatasetInfo
    labels: NDArray[np.int64]
    """int64 (N,)."""

    files: Sequence[str]
    """The image file of each position, relative to the folder of the images."""

    def split(self, position: int) -> Split:
        """Return the split of an image."""
        return "train" if position < self.info.num_train else "test"

    def index(self, position: int) -> int:
        """Return the index of an image within its split, in the order of the data."""
        return position if position < self.info.num_train else position - self.info.num_train

    def class_name(self, position: int) -> str:
        """Return the name of the class that an image is labelled as."""
        return self.info.class_names[int(self.labels[position])]


@dataclass(frozen=True, kw_only=True)
class AuditedImages(ImageList):
    """Every image of a data folder, with its pixels."""

    pixels: NDArray[np.uint8]
    """uint8 (N, 3, 32, 32)."""


def image_files(folder: DataFolder, labels: NDArray[np.int64], *, split: Split) -> list[str]:
    """Return the image file of each label of a split, relative to the folder of the images.

    Raises:
        UserError: custom data cannot be listed.
    """
    info = folder.info()
    if info.origin != "custom":
        return [f"{split}/{name}" for name in image_file_names(labels, info.class_names)]
    return list_images(folder, split, num_classes=info.num_classes)[0]
