"""The warp of whole batches against OpenCV's of single images."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from augmentation_variants import random_for

from cifar100.data.augmentation.affine import Affine, AffineParameters, _affine_grid

N = 24
AFFINE = Affine(shift=0.0625, scale=0.1, rotate=45)


def random_affine(*, generator=None):
    generator = generator or torch.Generator().manual_seed(2)
    numbers = torch.rand(4, N, generator=generator) * 2 - 1
    return AffineParameters(
        images=torch.randperm(N, generator=generator),
        shift_pixels=torch.stack([numbers[0], numbers[1]], dim=1) * 6,
        scale=1 + numbers[2] * 0.4,
        rotate_degrees=numbers[3] * 180,
    )


def warp_with_opencv(image, parameters, position):
    """One image (32, 32, 3) by the forward matrix of Albumentations' Affine and OpenCV."""
    angle, scale = math.radians(parameters.rotate_degrees[position]), float(parameters.scale[position])
    cos, sin, centre = math.cos(angle) * scale, math.sin(angle) * scale, 15.5
    dx, dy = parameters.shift_pixels[position].tolist()
    matrix = np.array(
        [
            [cos, sin, centre - cos * centre - sin * centre + dx],
            [-sin, cos, centre + sin * centre - cos * centre + dy],
        ]
    )
    return cv2.warpAffine(image, matrix, (32, 32), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def test_affine_is_that_of_opencv(images):
    parameters = random_affine()
    warped = AFFINE.apply(images, parameters)
    for position, index in enumerate(parameters.images.tolist()):
        if index == 0:
            continue  # noise
        expected = warp_with_opencv(images[index].permute(1, 2, 0).numpy(), parameters, position)
        difference = warped[index].permute(1, 2, 0).int() - torch.from_numpy(expected).int()
        # OpenCV rounds places to 1/32 pixel.
        assert difference.abs().max() <= 3
        assert difference.float().mean().abs() < 0.2


def test_affine_continues_the_border_by_reflection_about_the_outermost_pixel():
    images = torch.arange(32, dtype=torch.uint8).mul(8).expand(1, 3, 32, 32).contiguous()  # brighter to the right
    right = AffineParameters(
        images=torch.tensor([0]),
        shift_pixels=torch.tensor([[3.0, 0.0]]),
        scale=torch.ones(1),
        rotate_degrees=torch.zeros(1),
    )
    row = AFFINE.apply(images, right)[0, 0, 0].tolist()
    assert row[:8] == [24, 16, 8, 0, 8, 16, 24, 32]


def test_affine_directions():
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 10, 20] = 255  # right of the centre and above it

    def brightest(**changed):
        settings = {"shift_pixels": torch.zeros(1, 2), "scale": torch.ones(1), "rotate_degrees": torch.zeros(1)}
        warped = AFFINE.apply(images, AffineParameters(images=torch.tensor([0]), **(settings | changed)))
        return divmod(int(warped[0, 0].flatten().argmax()), 32)

    assert brightest() == (10, 20)
    assert brightest(shift_pixels=torch.tensor([[5.0, 2.0]])) == (12, 25)
    assert brightest(scale=torch.tensor([2.0]))[1] in (24, 25)
    assert brightest(rotate_degrees=torch.tensor([90.0])) == (11, 10)  # counter-clockwise: now to the left, above


def test_affine_leaves_the_other_images_alone(images):
    parameters = random_affine()
    few = AffineParameters(
        images=parameters.images[:5],
        shift_pixels=parameters.shift_pixels[:5],
        scale=parameters.scale[:5],
        rotate_degrees=parameters.rotate_degrees[:5],
    )
    before = images.clone()
    warped = AFFINE.apply(images, few)
    changed = (warped != images).flatten(1).any(dim=1)
    assert set(changed.nonzero().flatten().tolist()) == set(few.images.tolist())
    assert torch.equal(images, before)


def test_affine_grid_is_that_of_torch():
    matrices = torch.randn(N, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = F.affine_grid(matrices, [N, 3, 32, 32], align_corners=True)
    torch.testing.assert_close(_affine_grid(matrices, 32), expected)


def uniform(values, low, high):
    """Whether values spread evenly over low .. high, by their range and their first two moments."""
    values = values.double()
    close = abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    spread = abs(values.std() - (high - low) / 12**0.5) < 0.03 * (high - low)
    return bool(close and spread and values.min() >= low and values.max() <= high)


def test_parameters_have_the_stated_distributions():
    parameters = AFFINE.draw(random_for(AFFINE, 4000))
    assert len(parameters.images) / 4000 == pytest.approx(0.5, abs=0.03)
    assert uniform(parameters.shift_pixels[:, 0], -2, 2)
    assert uniform(parameters.shift_pixels[:, 1], -2, 2)
    assert uniform(parameters.scale, 0.9, 1.1)
    assert uniform(parameters.rotate_degrees, -45, 45)
    columns = torch.stack([*parameters.shift_pixels.unbind(1), parameters.scale, parameters.rotate_degrees])
    assert (torch.corrcoef(columns) - torch.eye(4)).abs().max() < 0.08


@pytest.mark.parametrize("probability", [0, 1])
def test_probabilities_zero_and_one_are_exact(probability):
    affine = Affine(rotate=45, affine_probability=probability)
    assert len(affine.draw(random_for(affine, 4000)).images) == 4000 * probability


def test_any_of_its_three_changes_switches_it_on():
    assert not Affine().enabled
    assert Affine(shift=0.1).enabled
    assert Affine(scale=0.1).enabled
    assert Affine(rotate=1).enabled
