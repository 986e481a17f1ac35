"""Find images that are too dark, nearly uniform, or unlike all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cifar100.data.audit.images import ImageArray, as_many_as

DARK_VALUE = 80
"""An image is too dark if 99 % of its pixels have no channel above this, of 255."""

UNIFORM_STD = 8.0
"""An image is nearly uniform if its pixels deviate less than this from its mean colour, of 255."""

ODD_DEVIATIONS = 5.0
"""An image is odd if the logarithm of its distance to others is this many standard deviations above the median."""

_NORMAL = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """An image that is not as most are."""

    position: int
    reason: str
    """`too dark`, `nearly uniform` or `odd`."""

    score: float
    """0 at the threshold, 1 for a black, a uniform, or an infinitely distant image."""


def plain_oddities(images: ImageArray) -> Iterator[Oddity]:
    """Yield the images that are too dark, then the others that are nearly uniform.

    images: uint8 (N, 3, H, W).
    """
    parts = [(_brightness(part), _deviation(part)) for part in _parts(images)]
    brightness, deviation = (np.concatenate(values) for values in zip(*parts, strict=True))
    is_dark = brightness < DARK_VALUE
    for position in np.flatnonzero(is_dark).tolist():
        yield Oddity(position=position, reason="too dark", score=float(1 - brightness[position] / DARK_VALUE))
    for position in np.flatnonzero((deviation < UNIFORM_STD) & ~is_dark).tolist():
        yield Oddity(position=position, reason="nearly uniform", score=float(1 - deviation[position] / UNIFORM_STD))


def _parts(images: ImageArray) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in parts: their deviations take eight times the space. There is one part of no images."""
    count = as_many_as(1000, images)
    for start in range(0, max(1, len(images)), count):
        yield images[start : start + count]


def odd_images(distances: NDArray[np.float32]) -> Iterator[Oddity]:
    """Yield the images that are unusually far from their nearest neighbours in the features of a network.

    distances: float32 (N,), positive: 1 - cosine of the features of an image and its tenth nearest neighbour.
    """
    if len(distances) == 0:
        return
    values = np.log(np.maximum(distances, 1e-6))
    middle = np.median(values)
    spread = _NORMAL * np.median(np.abs(values - middle))
    threshold = middle + ODD_DEVIATIONS * spread
    for position in np.flatnonzero(values > threshold).tolist():
        yield Oddity(position=position, reason="odd", score=float(1 - np.exp(threshold - values[position])))


def _brightness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the value that 99 % of the pixels do not exceed in any channel, 0..255, float64 (N,)."""
    values: NDArray[np.float64] = np.percentile(images.max(axis=1).reshape(len(images), -1), 99, axis=1)
    return values


def _deviation(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the root mean square distance of the pixels from the mean colour, per channel, float64 (N,)."""
    values: NDArray[np.float64] = np.sqrt(images.reshape(len(images), 3, -1).var(axis=2).mean(axis=1))
    return values
