"""Resizing in the graph against Pillow, and the deployed network against the trained one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from trained_networks import ColourNetwork, stub

from cifar100.results.export.deployed import DeployedNetwork, fit


def noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def levels_from_pillow(image: Image.Image) -> float:
    """Return the largest difference of a pixel value."""
    expected = tensor(ImageOps.fit(image, (32, 32), method=Image.Resampling.BICUBIC))
    return (fit(tensor(image)) - expected).abs().max().item()


@pytest.mark.parametrize(
    ("height", "width"), [(20, 30), (31, 31), (33, 32), (31, 100), (35, 34), (64, 64), (1, 1), (480, 640), (700, 501)]
)
def test_images_are_resized_as_pillow_does(height: int, width: int) -> None:
    assert levels_from_pillow(noise(height, width)) <= 1


def test_high_narrow_images_differ_from_pillow_by_rounding() -> None:
    """Pillow 13 begins with the other axis there; values between the passes are whole numbers in 0..255."""
    smooth = noise(25, 9).resize((64, 200), Image.Resampling.BICUBIC)
    assert levels_from_pillow(smooth) <= 3


def test_images_of_the_right_size_are_not_changed() -> None:
    image = tensor(noise(32, 32))
    assert torch.equal(fit(image), image.float())


def test_the_deployed_network_is_the_trained_one_with_its_temperature() -> None:
    torch.manual_seed(0)
    trained = stub(ColourNetwork(6))
    images = torch.cat([tensor(noise(32, 32)), tensor(noise(32, 32)) // 2])
    assert torch.equal(DeployedNetwork(trained)(images), trained(images))
    object.__setattr__(trained, "temperature", 2.0)
    torch.testing.assert_close(DeployedNetwork(trained)(images), (trained.logits(images) / 2).softmax(1))
