"""Cutout against a loop over single images."""

from __future__ import annotations

import pytest
import torch
from augmentation_variants import random_for

from cifar100.data.augmentation.cutout import Cutout


@pytest.mark.parametrize("size", [1, 16, 32])
def test_cutout_blackens_its_square(images, size):
    corners = torch.randint(32 - size + 1, (len(images), 2), generator=torch.Generator().manual_seed(5))
    corners[::3] = 32  # none
    images = images.clamp(min=1)
    for image, (top, left), result in zip(images, corners, Cutout(cutout=size).apply(images, corners), strict=True):
        expected = image.clone()
        expected[:, top : top + size, left : left + size] = 0
        assert torch.equal(result, expected)
        assert int((result == 0).sum()) == (0 if top == 32 else 3 * size * size)


@pytest.mark.parametrize("probability", [0, 0.5, 1])
def test_holes_have_the_stated_probability_and_lie_anywhere_inside(probability):
    cutout = Cutout(cutout=16, cutout_probability=probability)
    corners = cutout.draw(random_for(cutout, 4000))
    holes = corners[corners[:, 0] < 32]
    assert len(holes) / 4000 == pytest.approx(probability, abs=0.03 if probability == 0.5 else 0)
    assert sorted(holes.unique().tolist()) == (list(range(17)) if probability else [])


def test_whether_blended_batches_get_the_hole_is_a_setting():
    assert Cutout(cutout=8).applies_to_mixed
    assert not Cutout(cutout=8, cutout_mixed=False).applies_to_mixed
    assert not Cutout().enabled
