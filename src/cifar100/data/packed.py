"""Write the packed arrays of a split, and measure the channel statistics."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cifar100.atomic_files import remove_partial_files, replacing
from cifar100.data.prepared import DataFolder, Split

Triple = tuple[float, float, float]


def write_packed(images: NDArray[np.uint8], labels: NDArray[np.int64], folder: DataFolder, *, split: Split) -> None:
    """Write images (N, 3, 32, 32) and labels (N,) as `DataFolder.load` reads them."""
    folder.packed.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder.packed)
    for path, array in ((folder.packed_images(split), images), (folder.packed_labels(split), labels)):
        with replacing(path) as file:
            np.save(file, array, allow_pickle=False)


def channel_statistics(images: NDArray[np.uint8]) -> tuple[Triple, Triple]:
    """Return mean and standard deviation of each channel over all of uint8 (N, 3, H, W), scaled to 0..1.

    Both come from exact integer sums, so no rounding error grows with the number of images.
    """
    channels = [_mean_and_std(_histogram(images[:, channel])) for channel in range(3)]
    (r_mean, r_std), (g_mean, g_std), (b_mean, b_std) = channels
    return (r_mean, g_mean, b_mean), (r_std, g_std, b_std)


def _histogram(values: NDArray[np.uint8]) -> list[int]:
    """Count each of the 256 values. By parts, for `bincount` makes every value eight bytes long."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(values), 1000):
        counts += np.bincount(values[start : start + 1000].ravel(), minlength=256)
    return [int(count) for count in counts]


def _mean_and_std(counts: list[int]) -> tuple[float, float]:
    number = sum(counts)
    total = sum(count * value for value, count in enumerate(counts))
    total_of_squares = sum(count * value**2 for value, count in enumerate(counts))
    variance = (number * total_of_squares - total**2) / number**2  # of values in 0..255; Python integers are exact
    return total / number / 255, math.sqrt(variance) / 255
