"""Dark, uniform and odd images."""

from __future__ import annotations

import numpy as np
import pytest
from photographs import photographs

from cifar100.data.audit.oddities import odd_images, plain_oddities


def test_dark_and_uniform_images_are_found() -> None:
    images = np.tile(photographs(20), (100, 1, 1, 1))
    images[7] //= 8
    images[1500] = 120
    images[1501] = images[1501] // 64 + 200
    images[9, 0], images[9, 1:] = 250, 0  # red is not dark, but uniform
    found = [(oddity.position, oddity.reason) for oddity in plain_oddities(images)]
    assert found == [(7, "too dark"), (9, "nearly uniform"), (1500, "nearly uniform"), (1501, "nearly uniform")]
    scores = [oddity.score for oddity in plain_oddities(images)]
    assert scores[2] == 1
    assert all(0 < score <= 1 for score in scores)


def test_an_image_far_from_all_others_is_odd() -> None:
    distances = np.random.default_rng(0).lognormal(-1, 0.2, 5000).astype(np.float32)
    assert list(odd_images(distances)) == []
    distances[42] = np.exp(-1 + 8 * 0.2)
    (odd,) = odd_images(distances)
    assert (odd.position, odd.reason) == (42, "odd")
    assert odd.score == pytest.approx(1 - np.exp(-3 * 0.2), abs=0.05)
    assert list(odd_images(np.empty(0, dtype=np.float32))) == []
