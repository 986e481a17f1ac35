"""Random erasing against a loop over single images."""

from __future__ import annotations

import pytest
import torch
from augmentation_variants import random_for

from cifar100.data.augmentation.random_erasing import ErasingParameters, RandomErasing


def test_rectangles_are_filled_with_the_noise_at_their_place(images):
    generator = torch.Generator().manual_seed(6)
    noise = torch.randint(256, images.shape[1:], generator=generator, dtype=torch.uint8)
    boxes = torch.randint(0, 16, (len(images), 4), generator=generator)
    erased = RandomErasing().apply(images, ErasingParameters(boxes=boxes, noise=noise))
    for index, (top, left, height, width) in enumerate(boxes.tolist()):
        expected = images[index].clone()
        place = (slice(None), slice(top, top + height), slice(left, left + width))
        expected[place] = noise[place]
        assert torch.equal(erased[index], expected)


def test_boxes_lie_inside_and_have_the_stated_areas():
    erasing = RandomErasing(random_erasing_probability=0.5)
    parameters = erasing.draw(random_for(erasing, 4000))
    assert parameters.noise.shape == (3, 32, 32)
    assert parameters.noise.dtype == torch.uint8
    boxes = parameters.boxes[parameters.boxes[:, 2] > 0].double()
    assert len(boxes) / 4000 == pytest.approx(0.5, abs=0.03)
    top, left, height, width = boxes.unbind(1)
    assert min(top.min(), left.min()) == 0
    assert max((top + height).max(), (left + width).max()) == 32
    fraction = height * width / 32**2
    assert 0.01 < fraction.min() < 0.03
    assert 0.31 < fraction.max() < 0.36


def test_whether_blended_batches_are_erased_is_a_setting():
    assert RandomErasing(random_erasing_probability=1).applies_to_mixed
    assert not RandomErasing(random_erasing_probability=1, random_erasing_mixed=False).applies_to_mixed
    assert not RandomErasing().enabled
