from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from fabricated_release import binary_files, fabricate

from cifar100.data.sources.release import ReleaseSplit

SPLIT = fabricate().train


def test_the_sum_is_that_of_the_binary_file():
    assert SPLIT.sha256() == hashlib.sha256(binary_files(fabricate())["train.bin"]).hexdigest()


def test_the_sum_is_independent_of_the_layout_in_memory():
    for images in (np.asfortranarray(SPLIT.images), SPLIT.images[::-1].copy()[::-1]):
        assert dataclasses.replace(SPLIT, images=images).sha256() == SPLIT.sha256()


def changed(field: str) -> ReleaseSplit:
    values = getattr(SPLIT, field).copy()
    values.flat[-1] ^= 1
    return dataclasses.replace(SPLIT, **{field: values})


@pytest.mark.parametrize("field", ["images", "fine_labels", "coarse_labels"])
def test_the_sum_covers_every_pixel_and_label(field):
    assert changed(field).sha256() != SPLIT.sha256()
