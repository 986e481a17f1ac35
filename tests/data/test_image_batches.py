"""Functions on batches against Pillow and textbook formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cifar100.data.image_batches import inside_boxes, normalize, replace_images, resize

N = 24


@pytest.fixture
def images():
    return torch.randint(0, 256, (N, 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


@pytest.mark.parametrize("side", [16, 20, 24, 32, 40])
def test_resize_is_that_of_pillow(images, side):
    resized = resize(images.float(), side)
    for image, result in zip(images, resized, strict=True):
        for channel in range(3):
            picture = Image.fromarray(image[channel].float().numpy())
            expected = np.array(picture.resize((side, side), Image.Resampling.BILINEAR))
            np.testing.assert_allclose(result[channel], expected, atol=0.01)


def test_normalize_is_the_textbook_formula(images):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    normalized = normalize(images, torch.tensor(mean), torch.tensor(std))
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(normalized[:, channel].double(), expected, atol=2e-6, rtol=2e-6)
    assert normalized.dtype == torch.float32
    half = normalize(images, torch.tensor(mean), torch.tensor(std), dtype=torch.bfloat16)
    assert torch.equal(half, normalized.bfloat16())


def test_boxes_hold_their_rectangles():
    boxes = torch.randint(0, 20, (N, 4), generator=torch.Generator().manual_seed(2))
    boxes[0] = torch.tensor([30, 30, 16, 16])  # reaches beyond the image
    inside = inside_boxes(torch.zeros(N, 3, 32, 24), boxes)
    assert inside.shape == (N, 1, 32, 24)
    for mask, (top, left, height, width) in zip(inside[:, 0], boxes.tolist(), strict=True):
        expected = torch.zeros(32, 24, dtype=torch.bool)
        expected[top : top + height, left : left + width] = True
        assert torch.equal(mask, expected)


@pytest.mark.parametrize("width", [32, 31])
def test_rows_are_replaced_in_a_copy(images, width):
    images = images[..., :width]
    before = images.clone()
    replaced = replace_images(images, torch.tensor([3, 1]), images[[5, 6]])
    expected = before.clone()
    expected[3], expected[1] = before[5], before[6]
    assert torch.equal(replaced, expected)
    assert torch.equal(images, before)
