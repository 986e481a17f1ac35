"""Versions of a picture are found, other pictures are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from photographs import photographs
from PIL import Image

from cifar100.data.audit.duplicates import (
    detail_similarity,
    duplicate_groups,
    exact_duplicates,
    feature_candidates,
    groups,
    hash_candidates,
    near_duplicates,
)


def recompressed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


VERSIONS = {
    "recompressed": recompressed,
    "darker": lambda image: (image * 0.7).astype(np.uint8),
    "mirrored": lambda image: image[..., ::-1],
    "noisy": lambda image: (image + np.random.default_rng(0).normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8),
    "grey": lambda image: np.broadcast_to(image.mean(axis=0), image.shape).astype(np.uint8),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_of_a_picture_is_a_near_duplicate(version: str) -> None:
    images = photographs(50)
    images = np.concatenate([images, VERSIONS[version](images[7])[None]])
    exact = exact_duplicates(images)
    assert len(exact.places) == 0
    near = near_duplicates(images, hash_candidates(images), exact=exact)
    assert near.places.tolist() == [[7, 50]]
    assert near.similarity[0] > 0.6


def test_copies_are_paired_with_the_first_and_are_no_near_duplicates() -> None:
    images = photographs(10)
    images = np.concatenate([images, images[[3, 5, 3]], VERSIONS["darker"](images[3])[None]])
    exact = exact_duplicates(images)
    assert exact.places.tolist() == [[3, 10], [5, 11], [3, 12]]
    assert exact.similarity.tolist() == [1, 1, 1]
    near = near_duplicates(images, hash_candidates(images), exact=exact)
    assert near.places.tolist() == [[3, 13]]
    assert duplicate_groups(images) == [[3, 10, 12, 13], [5, 11]]


def test_the_similarity_is_the_correlation_of_the_details() -> None:
    images = photographs(4)
    pairs = np.array([[0, 1], [2, 3], [1, 1]])
    details = images.astype(np.float64)
    for image in details:
        for channel in image:
            padded = np.pad(channel, 2, constant_values=np.nan)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
            channel -= np.nanmean(windows, axis=(2, 3))
    norms = np.linalg.norm(details.reshape(4, -1), axis=1)
    expected = [
        max((details[i] * details[j]).sum(), (details[i] * details[j][..., ::-1]).sum()) / norms[i] / norms[j]
        for i, j in pairs
    ]
    assert detail_similarity(images, pairs) == pytest.approx(expected, abs=1e-4)


def test_uniform_images_resemble_nothing() -> None:
    images = np.stack([np.full((3, 32, 32), value, dtype=np.uint8) for value in (10, 200)])
    assert detail_similarity(images, np.array([[0, 1]])).tolist() == [0]


def test_neighbours_by_features_are_candidates_if_their_hashes_agree() -> None:
    images = photographs(3)
    images = np.concatenate([images, VERSIONS["mirrored"](images[0])[None]])
    neighbours = np.array([[3, 1], [0, 2], [0, 1], [0, 1]])
    cosines = np.array([[0.9, 0.9], [0.9, 0.9], [0.9, 0.9], [0.9, 0.1]], dtype=np.float32)
    assert feature_candidates(images, cosines, neighbours).tolist() == [[0, 3]]
    assert feature_candidates(images, cosines / 2, neighbours).tolist() == []


def test_groups_are_what_pairs_connect() -> None:
    assert groups(np.array([[5, 9], [0, 3], [3, 5], [7, 8]]), num_images=10) == [[0, 3, 5, 9], [7, 8]]
    assert groups(np.empty((0, 2), dtype=np.int64), num_images=10) == []
