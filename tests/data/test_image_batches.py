"""Functions on batches against Pillow and textbook formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cifar100.data.image_batches import fit, inside_boxes, network_input, normalize, replace_images, resize

N = 24


@pytest.fixture
def images():
    return torch.randint(0, 256, (N, 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def levels_from_pillow(image: Image.Image, side: int) -> float:
    """Return the largest difference of a pixel value."""
    expected = tensor(ImageOps.fit(image, (side, side), method=Image.Resampling.BICUBIC))
    return (fit(tensor(image), side) - expected).abs().max().item()


@pytest.mark.parametrize("side", [16, 32, 48, 224])
@pytest.mark.parametrize(
    ("height", "width"), [(20, 30), (31, 31), (33, 32), (31, 100), (35, 34), (64, 64), (1, 1), (480, 640), (700, 501)]
)
def test_images_are_fitted_as_pillow_does(height: int, width: int, side: int) -> None:
    # Weights of up to 1.2 can make two levels of a difference of one between the passes.
    assert levels_from_pillow(noise(height, width), side) <= 2


def test_without_rounding_levels_are_those_of_pillow_up_to_rounding() -> None:
    image = noise(32, 32)
    expected = tensor(image.resize((96, 96), Image.Resampling.BICUBIC))
    found = fit(tensor(image), 96, rounded=False)
    assert (found - expected).abs().max() < 1.2
    assert (found.min(), found.max()) == (0, 255)


def test_high_narrow_images_differ_from_pillow_by_rounding() -> None:
    """Pillow 13 begins with the other axis there; values between the passes are whole numbers in 0..255."""
    smooth = noise(25, 9).resize((64, 200), Image.Resampling.BICUBIC)
    assert levels_from_pillow(smooth, 32) <= 3


@pytest.mark.parametrize("side", [32, 96])
def test_images_of_the_right_size_are_not_changed(side: int) -> None:
    image = tensor(noise(side, side))
    assert torch.equal(fit(image, side), image.float())


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("side", [16, 32, 96, None])
def test_the_input_of_a_network_is_fitted_and_normalised(images, side, channels_last) -> None:
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    found = network_input(images, mean, std, side=side, memory_format=memory_format)
    assert found.shape == (N, 3, side or 32, side or 32)
    assert found.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(found, normalize(fit(images, side or 32, rounded=False), mean, std))


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
