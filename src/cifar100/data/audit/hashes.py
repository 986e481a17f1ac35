"""Find candidates for near-duplicates without a network: a perceptual hash and its Hamming distance.

Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010: pHash.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cifar100.data.audit.images import ImageArray, as_many_as

MAX_DISTANCE = 10
"""Bits of 64 in which the hashes of candidates may differ. Of the pairs of CIFAR-100 at a distance of 8 and 10, most
with similar pixels are near-duplicates; at 12 and 14 the number of pairs rises 5 and 30 times, and few are."""

MAX_NEIGHBOURS = 10
"""Candidates of an image; it bounds the result for data in which most images look alike, such as frames of a video."""

_HASH_SIDE = 8
_ROWS, _COLUMNS = 32, 8192
"""Distances that are computed at once; they stay in the cache of a processor."""


def perceptual_hashes(images: ImageArray, *, mirrored: bool = False) -> NDArray[np.uint64]:
    """Return the pHash of each image, 64 bits: which low frequencies of the grey image are above their median.

    The bits are those of `imagehash.phash` for images of this size.

    Args:
        images: uint8 (N, 3, 32, 32).
        mirrored: whether to hash their mirror images.

    Returns uint64 (N,).
    """
    side = images.shape[-1]
    frequencies, places = np.arange(_HASH_SIDE)[:, None], np.arange(side)[None, :]
    cosines = 2 * np.cos(np.pi * frequencies * (2 * places + 1) / (2 * side))  # (8, 32): the first rows of the DCT
    hashes = np.empty(len(images), dtype=np.uint64)
    count = as_many_as(1000, images)
    for start in range(0, len(images), count):  # in parts, because float64 takes eight times the space
        part = slice(start, start + count)
        pixels = images[part][..., ::-1] if mirrored else images[part]
        low = cosines @ _grey(pixels) @ cosines.T  # (n, 8, 8)
        low = low.reshape(len(low), -1)
        bits = low > np.median(low, axis=1, keepdims=True)
        hashes[part] = np.packbits(bits, axis=1).view(">u8")[:, 0]
    return hashes


def close_pairs(
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64] | None = None,
    *,
    max_distance: int = MAX_DISTANCE,
    max_neighbours: int = MAX_NEIGHBOURS,
    advance: Callable[[int], None] = lambda count: None,
) -> NDArray[np.int64]:
    """Return the pairs (i, j), i < j, for which `hashes[i]` and `others[j]` differ in few bits.

    Args:
        hashes: uint64 (N,).
        others: uint64 (N,), such as the hashes of the mirror images; the default is `hashes`.
        max_distance: number of bits that may differ.
        max_neighbours: pairs of each i; the closest are kept, and of equally close ones those with the lowest j.
        advance: called with the number of images just compared.

    Returns int64 (P, 2), ascending.
    """
    others = hashes if others is None else others
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(hashes), _ROWS):
        rows = hashes[start : start + _ROWS, None]
        near = [_near(rows, others, start, column, max_distance) for column in range(start, len(others), _COLUMNS)]
        row, column, distance = (np.concatenate(parts) for parts in zip(*near, strict=True))
        order = np.lexsort((column, distance, row))
        row, column = row[order], column[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)  # among the pairs of the same i
        pairs = np.stack([row, column], axis=1)[rank < max_neighbours]
        found.append(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])
        advance(len(rows))
    return np.concatenate(found)


def _near(
    rows: NDArray[np.uint64], others: NDArray[np.uint64], start: int, first: int, max_distance: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Return i, j > i and the distance of each close pair of a block. rows: uint64 (R, 1), from i = `start`."""
    distances = np.bitwise_count(rows ^ others[None, first : first + _COLUMNS])
    row, column = np.divmod(np.flatnonzero(distances <= max_distance), distances.shape[1])  # faster than `nonzero`
    later = column + first > row + start
    row, column = row[later], column[later]
    return row + start, column + first, distances[row, column]


def _grey(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the brightness of each pixel in 0..255, rounded as Pillow's mode L is. images: uint8 (N, 3, H, W)."""
    red, green, blue = (images[:, channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.float64)
