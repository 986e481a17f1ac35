"""Each batched function against the same draws applied to one image at a time."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation import operations as augment
from cifar100.data.augmentation.draws import AffineDraws, Draws, draw
from cifar100.data.sampler import EpochSampler

N = 24


@pytest.fixture
def images():
    """Smooth pictures, so that an error of a fraction of a pixel shows as one of a few grey levels; and some noise."""
    noise = torch.randint(0, 256, (N, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    smooth = F.interpolate(noise, size=(32, 32), mode="bilinear", align_corners=True).to(torch.uint8)
    smooth[0] = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(1))
    return smooth


def random_affine(*, generator=None):
    generator = generator or torch.Generator().manual_seed(2)
    draws = torch.rand(4, N, generator=generator) * 2 - 1
    return AffineDraws(
        images=torch.randperm(N, generator=generator),
        shift_pixels=torch.stack([draws[0], draws[1]], dim=1) * 6,
        scale=1 + draws[2] * 0.4,
        rotate_degrees=draws[3] * 180,
    )


def warp_with_opencv(image, draws, position):
    """One image (32, 32, 3) by the forward matrix of Albumentations' Affine and OpenCV."""
    angle, scale = math.radians(draws.rotate_degrees[position]), float(draws.scale[position])
    cos, sin, centre = math.cos(angle) * scale, math.sin(angle) * scale, 15.5
    dx, dy = draws.shift_pixels[position].tolist()
    matrix = np.array(
        [
            [cos, sin, centre - cos * centre - sin * centre + dx],
            [-sin, cos, centre + sin * centre - cos * centre + dy],
        ]
    )
    return cv2.warpAffine(image, matrix, (32, 32), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def test_affine_is_that_of_opencv(images):
    draws = random_affine()
    warped = augment.affine(images, draws)
    for position, index in enumerate(draws.images.tolist()):
        if index == 0:
            continue  # noise
        expected = warp_with_opencv(images[index].permute(1, 2, 0).numpy(), draws, position)
        difference = warped[index].permute(1, 2, 0).int() - torch.from_numpy(expected).int()
        # OpenCV rounds places to 1/32 pixel.
        assert difference.abs().max() <= 3
        assert difference.float().mean().abs() < 0.2


def test_affine_continues_the_border_by_reflection_about_the_outermost_pixel():
    images = torch.arange(32, dtype=torch.uint8).mul(8).expand(1, 3, 32, 32).contiguous()  # brighter to the right
    right = AffineDraws(
        images=torch.tensor([0]),
        shift_pixels=torch.tensor([[3.0, 0.0]]),
        scale=torch.ones(1),
        rotate_degrees=torch.zeros(1),
    )
    row = augment.affine(images, right)[0, 0, 0].tolist()
    assert row[:8] == [24, 16, 8, 0, 8, 16, 24, 32]


def test_affine_directions():
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 10, 20] = 255  # right of the centre and above it

    def brightest(**changed):
        settings = {"shift_pixels": torch.zeros(1, 2), "scale": torch.ones(1), "rotate_degrees": torch.zeros(1)}
        warped = augment.affine(images, AffineDraws(images=torch.tensor([0]), **(settings | changed)))
        return divmod(int(warped[0, 0].flatten().argmax()), 32)

    assert brightest() == (10, 20)
    assert brightest(shift_pixels=torch.tensor([[5.0, 2.0]])) == (12, 25)
    assert brightest(scale=torch.tensor([2.0]))[1] in (24, 25)
    assert brightest(rotate_degrees=torch.tensor([90.0])) == (11, 10)  # counter-clockwise: now to the left, above


def test_affine_leaves_the_other_images_alone(images):
    drawn = random_affine()
    few = AffineDraws(
        images=drawn.images[:5],
        shift_pixels=drawn.shift_pixels[:5],
        scale=drawn.scale[:5],
        rotate_degrees=drawn.rotate_degrees[:5],
    )
    before = images.clone()
    warped = augment.affine(images, few)
    changed = (warped != images).flatten(1).any(dim=1)
    assert set(changed.nonzero().flatten().tolist()) == set(few.images.tolist())
    assert torch.equal(images, before)


def test_affine_grid_is_that_of_torch():
    matrices = torch.randn(N, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = F.affine_grid(matrices, [N, 3, 32, 32], align_corners=True)
    torch.testing.assert_close(augment._affine_grid(matrices, 32), expected)


@pytest.mark.parametrize("padding", [1, 4, 31])
def test_crop_is_that_of_opencv(images, padding):
    corners = torch.randint(2 * padding + 1, (N, 2), generator=torch.Generator().manual_seed(3))
    corners[0], corners[1] = torch.tensor([0, 2 * padding]), torch.tensor([2 * padding, 0])
    cropped = augment.crop(images, corners, padding=padding)
    for image, (top, left), result in zip(images, corners.tolist(), cropped, strict=True):
        rows = image.permute(1, 2, 0).numpy()
        padded = cv2.copyMakeBorder(rows, padding, padding, padding, padding, cv2.BORDER_REFLECT_101)
        assert np.array_equal(result.permute(1, 2, 0), padded[top : top + 32, left : left + 32])


def test_flip_is_that_of_pillow(images):
    chosen = torch.rand(N, generator=torch.Generator().manual_seed(4)) < 0.5
    for image, flips, result in zip(images, chosen.tolist(), augment.flip(images, chosen), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flips else picture
        assert np.array_equal(result.permute(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize("size", [1, 16, 32])
def test_cutout_blackens_its_square(images, size):
    corners = torch.randint(32 - size + 1, (N, 2), generator=torch.Generator().manual_seed(5))
    corners[::3] = 32  # none
    images = images.clamp(min=1)
    for image, (top, left), result in zip(images, corners, augment.cutout(images, corners, size=size), strict=True):
        expected = image.clone()
        expected[:, top : top + size, left : left + size] = 0
        assert torch.equal(result, expected)
        assert int((result == 0).sum()) == (0 if top == 32 else 3 * size * size)


def test_random_erasing_fills_its_rectangle_with_noise(images):
    generator = torch.Generator().manual_seed(6)
    noise = torch.randn(images.shape, generator=generator)
    boxes = torch.randint(0, 16, (N, 4), generator=generator)
    floating = images.float()
    erased = augment.random_erasing(floating, boxes, noise)
    for index, (top, left, height, width) in enumerate(boxes.tolist()):
        expected = floating[index].clone()
        place = (slice(None), slice(top, top + height), slice(left, left + width))
        expected[place] = noise[index][place]
        assert torch.equal(erased[index], expected)


@pytest.mark.parametrize("side", [16, 20, 24, 32, 40])
def test_resize_is_that_of_pillow(images, side):
    resized = augment.resize(images.float(), side)
    for image, result in zip(images, resized, strict=True):
        for channel in range(3):
            picture = Image.fromarray(image[channel].float().numpy())
            expected = np.array(picture.resize((side, side), Image.Resampling.BILINEAR))
            np.testing.assert_allclose(result[channel], expected, atol=0.01)


def test_normalize_is_the_textbook_formula(images):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    normalized = augment.normalize(images, torch.tensor(mean), torch.tensor(std))
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(normalized[:, channel].double(), expected, atol=2e-6, rtol=2e-6)
    assert normalized.dtype == torch.float32
    half = augment.normalize(images, torch.tensor(mean), torch.tensor(std), dtype=torch.bfloat16)
    assert torch.equal(half, normalized.bfloat16())


MISSION = AugmentationConfig(crop_padding=4, shift=0.0625, scale=0.1, rotate=45, cutout=16)


def drawn(augmentation=MISSION):
    sampler = EpochSampler(np.arange(N), batch_size=N, training=True, seed=9)
    return draw(augmentation, np.arange(N), sampler=sampler, step=0)


def test_all_together_is_one_after_the_other_for_each_image(images):
    draws = drawn()
    before = images.clone()
    result = augment.augment_batch(images, draws)
    assert torch.equal(images, before)
    assert (result.shape, result.dtype) == (images.shape, torch.uint8)
    positions = {index: position for position, index in enumerate(draws.affine.images.tolist())}
    for index in range(1, N):
        expected = one_image(images[index].permute(1, 2, 0).numpy(), draws, index, positions)
        difference = result[index].permute(1, 2, 0).int() - torch.from_numpy(expected).int()
        assert difference.abs().max() <= 4


def one_image(image, draws, index, positions):
    top, left = draws.crop[index].tolist()
    image = cv2.copyMakeBorder(image, 4, 4, 4, 4, cv2.BORDER_REFLECT_101)[top : top + 32, left : left + 32]
    image = image[:, ::-1] if draws.flip[index] else image
    image = np.ascontiguousarray(image)
    if index in positions:
        image = warp_with_opencv(image, draws.affine, positions[index])
    top, left = draws.hole[index].tolist()
    image[top : top + 16, left : left + 16] = 0
    return image


def test_nothing_drawn_changes_nothing(images):
    assert torch.equal(augment.augment_batch(images, Draws()), images)


@pytest.mark.gpu
def test_cuda_gives_the_same_images_as_the_cpu(images):
    on_cpu = augment.augment_batch(images, drawn())
    on_gpu = augment.augment_batch(images.cuda(), drawn()).cpu()
    assert (on_gpu.int() - on_cpu.int()).abs().max() <= 1  # bilinear sums rounded in another order


@pytest.mark.gpu
def test_cuda_is_not_waited_for(images):
    images, mean, std = images.cuda(), torch.tensor([0.5] * 3).cuda(), torch.tensor([0.2] * 3).cuda()
    draws = drawn()
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment.normalize(augment.augment_batch(images, draws), mean, std)
    finally:
        torch.cuda.set_sync_debug_mode("default")
