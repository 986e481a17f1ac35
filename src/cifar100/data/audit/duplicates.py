"""Find images that occur twice: pixel by pixel, or as another version of the same picture."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from cifar100.data.audit.hashes import close_pairs, perceptual_hashes
from cifar100.data.audit.images import ImageArray, as_many_as
from cifar100.long_steps import progress

MIN_SIMILARITY = 0.5
"""Detail similarity from which a pair of candidates counts as near-duplicates; see docs/audit.md for how it was
chosen."""

MIN_COSINE = 0.75
"""Cosine of the features from which neighbours are candidates."""

MAX_DISTANCE_OF_NEIGHBOURS = 14
"""Bits of the perceptual hash in which neighbours by features may differ, 4 more than without features."""

_SIDE_OF_DETAIL = 5
"""Pixels of the mean that is subtracted. What is left is texture and edges, which two pictures share only by origin;
brightness and large areas, such as sky over sea, agree by chance."""

_PAIRS = 2000
"""Pairs of images of 32x32 pixels that are compared at once; fewer of larger ones."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of images, each pair once."""

    places: NDArray[np.int64]
    """int64 (P, 2), the smaller position first."""

    similarity: NDArray[np.float32]
    """float32 (P,), 1 for equal pixels."""


def exact_duplicates(images: ImageArray) -> Pairs:
    """Return each copy of an earlier image, paired with the first image of these pixels.

    images: uint8 (N, 3, H, W).
    """
    first: dict[bytes, int] = {}
    pairs = []
    for position, image in enumerate(images):
        original = first.setdefault(hashlib.sha256(image.tobytes()).digest(), position)
        if original != position:
            pairs.append((original, position))
    return Pairs(places=np.array(pairs, dtype=np.int64).reshape(-1, 2), similarity=np.ones(len(pairs), np.float32))


def hash_candidates(images: ImageArray) -> NDArray[np.int64]:
    """Return the pairs whose perceptual hashes are close, also if one image is mirrored. Shows its progress.

    images: uint8 (N, 3, 32, 32). Returns int64 (P, 2).
    """
    hashes = perceptual_hashes(images)
    with progress("Comparing perceptual hashes", total=2 * len(images)) as advance:
        direct = close_pairs(hashes, advance=advance)
        mirrored = close_pairs(hashes, perceptual_hashes(images, mirrored=True), advance=advance)
    both: NDArray[np.int64] = np.unique(np.concatenate([direct, mirrored]), axis=0)
    return both


def feature_candidates(
    images: ImageArray, cosines: NDArray[np.float32], neighbours: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the pairs that are close both in the features of a network and, less strictly, by perceptual hash.

    Features alone pair things of one kind: apples, plates, horizons.

    images: uint8 (N, 3, 32, 32). cosines: float32 (N, K). neighbours: int64 (N, K), the nearest images of each.
    Returns int64 (P, 2).
    """
    row, column = np.nonzero(cosines >= MIN_COSINE)
    pairs = np.unique(np.sort(np.stack([row, neighbours[row, column]], axis=1), axis=1), axis=0)
    hashes, mirrored = perceptual_hashes(images), perceptual_hashes(images, mirrored=True)
    first, second = pairs[:, 0], pairs[:, 1]
    distance = np.minimum(
        np.bitwise_count(hashes[first] ^ hashes[second]), np.bitwise_count(hashes[first] ^ mirrored[second])
    )
    close: NDArray[np.int64] = pairs[distance <= MAX_DISTANCE_OF_NEIGHBOURS]
    return close


def near_duplicates(
    images: ImageArray,
    candidates: NDArray[np.int64],
    *,
    exact: Pairs,
    min_similarity: float = MIN_SIMILARITY,
) -> Pairs:
    """Return the candidates that are versions of one picture. Copies in `exact` are represented by their original.

    images: uint8 (N, 3, 32, 32). candidates: int64 (P, 2).
    """
    original = np.arange(len(images))
    original[exact.places[:, 1]] = exact.places[:, 0]
    candidates = np.sort(original[candidates], axis=1)
    candidates = np.unique(candidates[candidates[:, 0] != candidates[:, 1]], axis=0)
    similarity = detail_similarity(images, candidates)
    kept = similarity >= min_similarity
    return Pairs(places=candidates[kept], similarity=similarity[kept])


def detail_similarity(images: ImageArray, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the correlation of the details of each pair, of the image or its mirror image; -1 to 1.

    The details of an image are its difference from a moving mean of 5x5 pixels. A uniform image has none; its
    correlation with any is 0.

    images: uint8 (N, 3, H, W). pairs: int64 (P, 2). Returns float32 (P,).
    """
    found = [np.empty(0, dtype=np.float32)]
    count = as_many_as(_PAIRS, images)
    for start in range(0, len(pairs), count):
        first, second = (_details(images[pairs[start : start + count, side]]) for side in (0, 1))
        direct, mirrored = ((first * other).sum(dim=(1, 2, 3)) for other in (second, second.flip(3)))
        found.append(torch.maximum(direct, mirrored).numpy())
    return np.concatenate(found)


def groups(pairs: NDArray[np.int64], *, num_images: int) -> list[list[int]]:
    """Return the groups that pairs connect, each sorted, in the order of their first images. pairs: int64 (P, 2)."""
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(num_images, num_images))
    _, numbers = connected_components(graph, directed=False)
    members: dict[int, list[int]] = defaultdict(list)
    for image in np.unique(pairs).tolist():
        members[numbers[image]].append(image)
    return list(members.values())


def duplicate_groups(images: ImageArray) -> list[list[int]]:
    """Return the groups of exact and near-duplicates, found without a network. Shows its progress.

    images: uint8 (N, 3, 32, 32).
    """
    exact = exact_duplicates(images)
    near = near_duplicates(images, hash_candidates(images), exact=exact)
    return groups(np.concatenate([exact.places, near.places]), num_images=len(images))


def _details(images: NDArray[np.uint8]) -> Tensor:
    """Return the details of each image with mean 0 in each channel and length 1, float32 (N, 3, H, W)."""
    pixels = torch.from_numpy(images).float()
    mean = avg_pool2d(pixels, _SIDE_OF_DETAIL, stride=1, padding=_SIDE_OF_DETAIL // 2, count_include_pad=False)
    details = pixels - mean
    return normalize(details.flatten(1), dim=1).reshape(details.shape)
