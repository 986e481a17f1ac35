"""AutoAugment, RandAugment and TrivialAugment against Pillow's operations, image by image."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.draws import draw
from cifar100.data.augmentation.operations import augment_batch
from cifar100.data.augmentation.policies import (
    AUTO_AUGMENT,
    MODERATE,
    OPERATIONS,
    WIDE,
    PolicyDraws,
    draw_policy,
    operation_values,
)
from cifar100.data.augmentation.policy_operations import FILL, apply_policy
from cifar100.data.sampler import EpochSampler
from cifar100.errors import UserError
from cifar100.settings import load_config

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
    results = apply_policy(images, PolicyDraws(operations=operations[None], values=values[None]))
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


def test_an_image_does_not_depend_on_its_neighbours_and_rounds_follow_each_other(images: Tensor) -> None:
    draws = draw_policy(AugmentationConfig(policy="rand_augment", rand_augment_operations=3), lambda: torch.rand(N))
    assert draws is not None
    before = images.clone()
    together = apply_policy(images, draws)
    assert torch.equal(images, before)
    for index in range(N):
        alone = images[index : index + 1]
        for operation, value in zip(draws.operations[:, index], draws.values[:, index], strict=True):
            alone = apply_policy(alone, PolicyDraws(operations=operation.view(1, 1), values=value.view(1, 1)))
        assert torch.equal(together[index], alone[0])


def drawn(num_images: int = 60_000, **settings: Any) -> PolicyDraws:
    generator = torch.Generator().manual_seed(0)
    draws = draw_policy(AugmentationConfig(**settings), lambda: torch.rand(num_images, generator=generator))
    assert draws is not None
    return draws


def test_rand_augment_draws_all_but_invert_equally_often_at_one_strength() -> None:
    draws = drawn(policy="rand_augment", rand_augment_operations=3, rand_augment_magnitude=15)
    assert draws.operations.shape == (3, 60_000)
    counts = torch.bincount(draws.operations.flatten(), minlength=15)
    assert counts[-1] == 0
    assert (counts[:-1] / counts.sum() - 1 / 14).abs().max() < 0.003
    rotations = draws.values[draws.operations == OPERATIONS.index("rotate")]
    assert rotations.unique().tolist() == [-15.0, 15.0]
    assert (rotations > 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert set(draws.values[draws.operations == OPERATIONS.index("posterize")].tolist()) == {6.0}
    assert set(draws.values[draws.operations == OPERATIONS.index("translate_x")].tolist()) == {-7.0, 7.0}
    assert set(draws.values[draws.operations == OPERATIONS.index("solarize")].tolist()) == {127.5}


def test_trivial_augment_draws_one_operation_at_any_of_31_strengths() -> None:
    draws = drawn(policy="trivial_augment")
    assert draws.operations.shape == (1, 60_000)
    rotations = draws.values[draws.operations == OPERATIONS.index("rotate")]
    assert sorted({round(value, 3) for value in rotations.abs().tolist()}) == [4.5 * level for level in range(31)]
    assert rotations.abs().mean().item() == pytest.approx(135 / 2, abs=4)
    enhanced = draws.values[draws.operations == OPERATIONS.index("contrast")]
    assert (enhanced.min().item(), enhanced.max().item()) == pytest.approx((0.01, 1.99))
    assert set(draws.values[draws.operations == OPERATIONS.index("posterize")].tolist()) == {2.0, 3, 4, 5, 6, 7, 8}


def test_auto_augment_draws_its_pairs() -> None:
    draws = drawn(200_000, policy="auto_augment")
    first, second = draws.operations.tolist()
    found = Counter(zip(first, second, strict=True))
    expected: Counter[tuple[int, int]] = Counter()
    for (one, p, _), (other, q, _) in AUTO_AUGMENT:
        for i, share in ((OPERATIONS.index(one), p), (0, 1 - p)):
            for j, other_share in ((OPERATIONS.index(other), q), (0, 1 - q)):
                expected[i, j] += share * other_share / 25
    assert sum(expected.values()) == pytest.approx(1)
    for pair in expected.keys() | found.keys():
        assert found[pair] / 200_000 == pytest.approx(expected[pair], abs=0.003)
    shears = draws.values[1][draws.operations[1] == OPERATIONS.index("posterize")]
    assert set(shears.tolist()) == {8.0 - round(7 * 4 / 9)}


@pytest.mark.parametrize("policy", ["auto_augment", "rand_augment", "trivial_augment"])
def test_policies_come_after_the_flip_and_before_the_hole_and_are_shared_by_processes(
    policy: Any, images: Tensor
) -> None:
    settings = AugmentationConfig(policy=policy, cutout=8, cutout_probability=1)
    batch = np.arange(N)
    alone = EpochSampler(batch, batch_size=N, training=True, seed=3)
    draws = draw(settings, batch, sampler=alone, step=2)
    assert draws.policy is not None
    assert draws.hole is not None
    result = augment_batch(images, draws)
    top, left = draws.hole[0].tolist()
    assert not result[0, :, top : top + 8, left : left + 8].any()
    for rank in range(2):
        sampler = EpochSampler(batch, batch_size=N // 2, training=True, seed=3, rank=rank, world_size=2)
        share = draw(settings, batch[rank::2], sampler=sampler, step=2)
        assert torch.equal(augment_batch(images[rank::2], share), result[rank::2])


def test_a_policy_needs_the_packed_pipeline() -> None:
    with pytest.raises(UserError, match=r"--augmentation\.policy needs --data\.pipeline packed"):
        load_config("original", overrides={"augmentation.policy": "trivial_augment"})
