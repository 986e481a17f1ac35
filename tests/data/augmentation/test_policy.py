"""Which operations AutoAugment, RandAugment and TrivialAugment choose."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from augmentation_variants import random_for
from torch import Tensor

from cifar100.data.augmentation.policy import AUTO_AUGMENT, Policy, PolicyParameters
from cifar100.data.augmentation.policy_operations import OPERATIONS, apply_operations
from cifar100.errors import UserError
from cifar100.settings import load_config


def parameters_of(num_images: int = 60_000, **settings: Any) -> PolicyParameters:
    policy = Policy(**settings)
    return policy.draw(random_for(policy, num_images))


def test_rand_augment_chooses_all_but_invert_equally_often_at_one_strength() -> None:
    parameters = parameters_of(policy="rand_augment", rand_augment_operations=3, rand_augment_magnitude=15)
    assert parameters.operations.shape == (3, 60_000)
    counts = torch.bincount(parameters.operations.flatten(), minlength=15)
    assert counts[-1] == 0
    assert (counts[:-1] / counts.sum() - 1 / 14).abs().max() < 0.003
    rotations = parameters.values[parameters.operations == OPERATIONS.index("rotate")]
    assert rotations.unique().tolist() == [-15.0, 15.0]
    assert (rotations > 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert set(parameters.values[parameters.operations == OPERATIONS.index("posterize")].tolist()) == {6.0}
    assert set(parameters.values[parameters.operations == OPERATIONS.index("translate_x")].tolist()) == {-7.0, 7.0}
    assert set(parameters.values[parameters.operations == OPERATIONS.index("solarize")].tolist()) == {127.5}


def test_trivial_augment_chooses_one_operation_at_any_of_31_strengths() -> None:
    parameters = parameters_of(policy="trivial_augment")
    assert parameters.operations.shape == (1, 60_000)
    rotations = parameters.values[parameters.operations == OPERATIONS.index("rotate")]
    assert sorted({round(value, 3) for value in rotations.abs().tolist()}) == [4.5 * level for level in range(31)]
    assert rotations.abs().mean().item() == pytest.approx(135 / 2, abs=4)
    enhanced = parameters.values[parameters.operations == OPERATIONS.index("contrast")]
    assert (enhanced.min().item(), enhanced.max().item()) == pytest.approx((0.01, 1.99))
    assert set(parameters.values[parameters.operations == OPERATIONS.index("posterize")].tolist()) == {
        2.0,
        3,
        4,
        5,
        6,
        7,
        8,
    }


def test_auto_augment_chooses_its_pairs() -> None:
    parameters = parameters_of(200_000, policy="auto_augment")
    first, second = parameters.operations.tolist()
    found = Counter(zip(first, second, strict=True))
    expected: Counter[tuple[int, int]] = Counter()
    for (one, p, _), (other, q, _) in AUTO_AUGMENT:
        for i, share in ((OPERATIONS.index(one), p), (0, 1 - p)):
            for j, other_share in ((OPERATIONS.index(other), q), (0, 1 - q)):
                expected[i, j] += share * other_share / 25
    assert sum(expected.values()) == pytest.approx(1)
    for pair in expected.keys() | found.keys():
        assert found[pair] / 200_000 == pytest.approx(expected[pair], abs=0.003)
    shears = parameters.values[1][parameters.operations[1] == OPERATIONS.index("posterize")]
    assert set(shears.tolist()) == {8.0 - round(7 * 4 / 9)}


def test_rounds_follow_each_other(images: Tensor) -> None:
    policy = Policy(policy="rand_augment", rand_augment_operations=3)
    parameters = policy.draw(random_for(policy, len(images)))
    expected = images
    for operations, values in zip(parameters.operations, parameters.values, strict=True):
        expected = apply_operations(expected, operations, values)
    assert torch.equal(policy.apply(images, parameters), expected)


def test_a_policy_needs_the_packed_pipeline() -> None:
    assert not Policy().enabled
    with pytest.raises(
        UserError, match=r"--augmentation\.policy trivial_augment has no effect: it needs --data\.pipeline packed"
    ):
        load_config("original", overrides={"augmentation.policy": "trivial_augment"})
