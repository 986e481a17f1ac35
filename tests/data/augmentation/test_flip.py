"""The flip of whole batches against Pillow's, and the alternating choice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from augmentation_variants import random_for
from PIL import Image

from cifar100.data.augmentation.flip import Flip, alternating_flip

IMAGES = np.arange(4000)


def test_flip_is_that_of_pillow(images):
    chosen = torch.rand(len(images), generator=torch.Generator().manual_seed(4)) < 0.5
    for image, flips, result in zip(images, chosen.tolist(), Flip().apply(images, chosen), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flips else picture
        assert np.array_equal(result.permute(1, 2, 0), np.asarray(expected))


def test_half_of_the_images_are_mirrored():
    assert Flip().draw(random_for(Flip(), 4000)).double().mean() == pytest.approx(0.5, abs=0.03)
    assert not Flip(flip="none").enabled


def test_alternating_flip_shows_both_sides_in_two_epochs():
    epochs = [alternating_flip(IMAGES, seed=1, epoch=epoch) for epoch in range(4)]
    assert epochs[0].double().mean() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(epochs[1], ~epochs[0])
    assert torch.equal(epochs[2], epochs[0])
    assert torch.equal(epochs[3], epochs[1])


def test_alternating_flip_is_a_hash_of_seed_and_image():
    chosen = alternating_flip(IMAGES, seed=1, epoch=0)
    shuffled = np.random.default_rng(0).permutation(IMAGES)
    assert torch.equal(alternating_flip(shuffled, seed=1, epoch=0), chosen[shuffled])
    other = alternating_flip(IMAGES, seed=2, epoch=0)
    assert (chosen == other).double().mean() == pytest.approx(0.5, abs=0.03)
    assert (chosen[1:] == chosen[:-1]).double().mean() == pytest.approx(0.5, abs=0.03)


def test_alternating_flip_is_that_of_the_images_of_the_batch():
    alternating = Flip(flip="alternating")
    part = alternating.draw(random_for(alternating, 100, seed=3, epoch=1, rank=1, ranks=2))
    assert torch.equal(part, alternating_flip(IMAGES[1:100:2], seed=3, epoch=1))


def test_single_images_do_not_alternate():
    with pytest.raises(NotImplementedError, match="packed"):
        Flip(flip="alternating").transforms(side=32)
