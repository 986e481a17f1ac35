"""The images that an audit looks at: both splits in one sequence, training first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import IMAGE_SIDE, DatasetInfo
from cifar100.data.folder.image_files import image_file_names
from cifar100.data.folder.layout import DataFolder, Split
from cifar100.data.layouts.reading import list_images


class ImageArray(Protocol):
    """Images, uint8 (N, 3, S, S), of which parts are read: an array, or `JoinedImages`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, 3, S, S)."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[NDArray[np.uint8]]: ...

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]: ...


def as_many_as(count: int, images: ImageArray) -> int:
    """Return the number of these images that take the memory of `count` images of 32x32 pixels; at least 1."""
    height, width = images.shape[-2:]
    return max(1, count * IMAGE_SIDE**2 // (height * width))


class JoinedImages:
    """Several arrays of images one after the other, without a copy: they may be maps of files beyond the memory.

    Args:
        parts: uint8 (N, 3, S, S) each, with the same S.
    """

    def __init__(self, *parts: NDArray[np.uint8]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return chain.from_iterable(self._parts)

    def __getitem__(self, index: int | slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return a copy of an image, (3, S, S), or of several, (M, 3, S, S)."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        positions = np.atleast_1d(np.asarray(index, dtype=np.int64))
        if np.any((positions < 0) | (positions >= len(self))):
            raise IndexError(f"a position is not from 0 to {len(self) - 1}")
        found = np.empty((len(positions), *self.shape[1:]), dtype=np.uint8)
        for part, start in zip(self._parts, self._starts, strict=False):
            is_here = (positions >= start) & (positions < start + len(part))
            found[is_here] = part[positions[is_here] - start]
        return found if np.ndim(index) else found[0]


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

    pixels: ImageArray
    """uint8 (N, 3, S, S)."""


def image_files(folder: DataFolder, labels: NDArray[np.int64], *, split: Split) -> list[str]:
    """Return the image file of each label of a split, relative to the folder of the images.

    Raises:
        UserError: custom data cannot be listed.
    """
    info = folder.info()
    if info.origin != "custom":
        return [f"{split}/{name}" for name in image_file_names(labels, info.class_names)]
    return list_images(folder, split, num_classes=info.num_classes)[0]
