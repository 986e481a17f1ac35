"""Each operation against Pillow's, image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from cifar100.data.augmentation.policy import MODERATE, WIDE, operation_values
from cifar100.data.augmentation.policy_operations import FILL, OPERATIONS, apply_operations

N = 40


@pytest.fixture
def images() -> Tensor:
    """Noise, smooth pictures, dark and narrow ones, a single colour, two levels only."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (N, 3, 32, 32), generator=generator, dtype=torch.uint8)
    small = torch.randint(0, 256, (N // 2, 3, 5, 5), generator=generator).float()
    noise[: N // 2] = F.interpolate(small, size=(32, 32), mode="bicubic").clamp(0, 255).to(torch.uint8)
    noise[0] = 77
    noise[1] = noise[1] // 10 + 20
    noise[2] = (noise[2] > 200) * torch.tensor(3, dtype=torch.uint8)
    noise[3, 1] = 255
    return noise


def by_pillow(image: Image.Image, name: str, value: float) -> Image.Image:
    def transform(a: float, b: float, c: float, d: float, e: float, f: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), fillcolor=(FILL,) * 3)

    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in enhancers:
        enhancer: Any = enhancers[name](image)
        return enhancer.enhance(value)
    return {
        "identity": lambda: image,
        "shear_x": lambda: transform(1, value, 0, 0, 1, 0),
        "shear_y": lambda: transform(1, 0, 0, value, 1, 0),
        "translate_x": lambda: transform(1, 0, value, 0, 1, 0),
        "translate_y": lambda: transform(1, 0, 0, 0, 1, value),
        "rotate": lambda: image.rotate(value, fillcolor=(FILL,) * 3),
        "posterize": lambda: ImageOps.posterize(image, int(value)),
        "solarize": lambda: ImageOps.solarize(image, value),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
    }[name]()


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def as_image(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("ranges", [MODERATE, WIDE], ids=["moderate", "wide"])
def test_an_operation_is_that_of_pillow(name: str, ranges: Any, images: Tensor) -> None:
    operations = torch.full((N,), OPERATIONS.index(name))
    values = operation_values(operations, torch.arange(N) / (N - 1), torch.arange(N) % 3 == 0, ranges)
    results = apply_operations(images, operations, values)
    wrong, largest = 0, 0
    for pixels, value, result in zip(images, values.tolist(), results, strict=True):
        difference = (as_tensor(by_pillow(as_image(pixels), name, value)).int() - result.int()).abs()
        wrong += int((difference > 0).sum())
        largest = max(largest, int(difference.max()))
    if name == "autocontrast":  # Pillow's products of floats fall short of some whole numbers
        assert largest <= 1
    else:
        assert wrong == 0
    if name != "identity":
        assert not torch.equal(results, images)


def test_an_image_does_not_depend_on_its_neighbours(images: Tensor) -> None:
    operations = torch.arange(N) % len(OPERATIONS)
    values = operation_values(operations, torch.full((N,), 0.5), torch.arange(N) % 2 == 0, MODERATE)
    before = images.clone()
    together = apply_operations(images, operations, values)
    assert torch.equal(images, before)
    for index in range(N):
        one = slice(index, index + 1)
        assert torch.equal(together[one], apply_operations(images[one], operations[one], values[one]))
