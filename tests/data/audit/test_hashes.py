"""The perceptual hash against the library imagehash, the search against a loop over all pairs."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from photographs import photographs
from PIL import Image

from cifar100.data.audit.hashes import close_pairs, perceptual_hashes


def test_the_bits_are_those_of_imagehash() -> None:
    images = photographs(40)
    expected = [imagehash.phash(Image.fromarray(image.transpose(1, 2, 0))) for image in images]
    assert [f"{value:016x}" for value in perceptual_hashes(images)] == [str(value) for value in expected]


@pytest.mark.parametrize("max_neighbours", [2, 1000])
def test_close_pairs_are_those_of_a_loop(max_neighbours: int) -> None:
    generator = np.random.default_rng(0)
    centres = generator.integers(0, 2**63, 20, dtype=np.uint64)
    hashes = centres[generator.integers(0, 20, 100)]
    for _ in range(6):  # flip up to six bits
        hashes ^= np.uint64(1) << generator.integers(0, 64, 100, dtype=np.uint64)
    expected = []
    for i in range(100):
        near = [(int(a ^ hashes[i]).bit_count(), j) for j, a in enumerate(hashes.tolist()) if j > i]
        close = sorted(pair for pair in near if pair[0] <= 10)[:max_neighbours]
        expected += [[i, j] for j in sorted(j for _, j in close)]
    assert len(expected) > 50
    assert close_pairs(hashes, max_neighbours=max_neighbours).tolist() == expected


def test_equal_images_are_bounded_by_the_number_of_neighbours() -> None:
    pairs = close_pairs(np.zeros(500, dtype=np.uint64), max_neighbours=3)
    assert np.bincount(pairs[:, 0]).max() == 3


def test_every_image_is_reported_as_progress() -> None:
    done: list[int] = []
    close_pairs(np.arange(100, dtype=np.uint64), advance=done.append)
    assert sum(done) == 100
