"""The packed arrays of a data set: how they are written, their identity and their channel statistics."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cifar100.data.dataset_info import DatasetInfo, Triple
from cifar100.data.folder.layout import DataFolder, Split
from cifar100.files.atomic import remove_partial_files, replacing

_PART_PIXELS = 2**20


def write_packed(images: NDArray[np.uint8], labels: NDArray[np.int64], folder: DataFolder, *, split: Split) -> None:
    """Write images (N, 3, 32, 32) and labels (N,) as `DataFolder.load` reads them."""
    folder.packed.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder.packed)
    with replacing(folder.packed_images(split)) as file:
        np.save(file, images, allow_pickle=False)
    write_labels(labels, folder, split=split)


@contextmanager
def writing_images(folder: DataFolder, *, split: Split, number: int) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Yield a function that appends images, uint8 (n, 3, S, S), to the array of a split, which memory need not hold.

    The array gets its name at the end of the block, and only if that succeeds. number: of all images.
    """
    shape = (number, 3, folder.image_size, folder.image_size)
    with replacing(folder.packed_images(split)) as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})

        def append(images: NDArray[np.uint8]) -> None:
            file.write(np.ascontiguousarray(images).data)

        yield append


def write_labels(labels: NDArray[np.int64], folder: DataFolder, *, split: Split) -> None:
    """Write the labels of a split, (N,)."""
    with replacing(folder.packed_labels(split)) as file:
        np.save(file, labels, allow_pickle=False)


def remove_packed(folder: DataFolder, *, split: Split) -> None:
    """Remove the arrays of a split that the data no longer have."""
    for path in (folder.packed_images(split), folder.packed_labels(split)):
        path.unlink(missing_ok=True)


def content_sha256(images: NDArray[np.uint8], labels: NDArray[np.int64], info: DatasetInfo) -> str:
    """Return the identity of a split: the sha256 of its images and labels, whatever files they came from.

    For a release it covers the official binary layout: superclass byte, class byte and 3072 pixel bytes of each image.
    Custom data may have more classes than a byte can hold: all pixels, then the labels as 8 bytes each, little-endian.

    images: uint8 (N, 3, S, S). labels: int64 (N,).
    """
    if info.origin == "custom" or not info.class_to_superclass:
        sums = ContentSums(0)
        sums.add(images)
        return sums.sha256(labels)
    digest = hashlib.sha256()
    superclasses = np.array(info.class_to_superclass)[labels]
    both = np.stack([superclasses, labels], axis=1).astype(np.uint8)
    for start in range(0, len(images), 1000):  # in parts, because each is copied
        part = slice(start, start + 1000)
        digest.update(np.concatenate([both[part], images[part].reshape(-1, 3072)], axis=1).data)
    return digest.hexdigest()


class ContentSums:
    """Sums up custom images, part by part: their identity, and the statistics of the first of them.

    num_measured: number of images, from the first, that `statistics` covers.
    """

    def __init__(self, num_measured: int) -> None:
        self._digest = hashlib.sha256()
        self._counts = ChannelCounts()
        self._to_measure = num_measured

    def add(self, images: NDArray[np.uint8]) -> None:
        """Add the next images, uint8 (n, 3, H, W)."""
        self._digest.update(np.ascontiguousarray(images).data)
        self._counts.add(images[: self._to_measure])
        self._to_measure -= min(self._to_measure, len(images))

    def statistics(self) -> tuple[Triple, Triple]:
        """Return what `channel_statistics` does, of the images to measure."""
        return self._counts.statistics()

    def sha256(self, labels: NDArray[np.int64]) -> str:
        """Return what `content_sha256` does, of all images. labels: int64 (N,)."""
        digest = self._digest.copy()
        digest.update(labels.astype("<i8").data)
        return digest.hexdigest()


def channel_statistics(images: NDArray[np.uint8]) -> tuple[Triple, Triple]:
    """Return mean and standard deviation of each channel over all of uint8 (N, 3, H, W), scaled to 0..1."""
    counts = ChannelCounts()
    counts.add(images)
    return counts.statistics()


class ChannelCounts:
    """Counts the levels of each channel.

    Mean and standard deviation come from exact integer sums, so that rounding errors do not grow with the number of
    images.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), dtype=np.int64)

    def add(self, images: NDArray[np.uint8]) -> None:
        """Add images, uint8 (n, 3, H, W). In parts, because `bincount` converts every value to eight bytes."""
        step = max(1, _PART_PIXELS // max(1, images[0, 0].size)) if len(images) else 1
        for start in range(0, len(images), step):
            for channel, counts in enumerate(self._counts):
                counts += np.bincount(images[start : start + step, channel].ravel(), minlength=256)

    def statistics(self) -> tuple[Triple, Triple]:
        """Return mean and standard deviation of each channel, scaled to 0..1."""
        (r_mean, r_std), (g_mean, g_std), (b_mean, b_std) = (_mean_and_std(counts.tolist()) for counts in self._counts)
        return (r_mean, g_mean, b_mean), (r_std, g_std, b_std)


def _mean_and_std(counts: list[int]) -> tuple[float, float]:
    number = sum(counts)
    total = sum(count * value for value, count in enumerate(counts))
    total_of_squares = sum(count * value**2 for value, count in enumerate(counts))
    variance = (number * total_of_squares - total**2) / number**2  # of values in 0..255; Python integers are exact
    return total / number / 255, math.sqrt(variance) / 255
