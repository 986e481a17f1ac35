"""Mixup against a loop over single images."""

from __future__ import annotations

import torch
from augmentation_variants import random_for

from cifar100.data.augmentation.base import mix_labels
from cifar100.data.augmentation.mixup import Mixup

N = 50


def test_mixup_blends_each_image_and_label_with_its_partner():
    images = torch.randn(N, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(N)
    mixup = Mixup(mixup_probability=1, mixup_alpha=0.8)
    parameters = mixup.draw(random_for(mixup, N))
    mixed, mixed_labels = mixup.apply(images, labels, parameters, num_classes=100)
    pairs = zip(parameters.partners.tolist(), parameters.weights.tolist(), strict=True)
    for index, (partner, weight) in enumerate(pairs):
        torch.testing.assert_close(mixed[index], weight * images[index] + (1 - weight) * images[partner])
    expected = mix_labels(labels, parameters.partners, parameters.weights, num_classes=100)
    assert torch.equal(mixed_labels, expected)


def test_alpha_shapes_the_weights():
    for alpha in (0.2, 4.0):
        mixup = Mixup(mixup_probability=1, mixup_alpha=alpha)
        variance = mixup.draw(random_for(mixup, 20_000)).weights.double().var()
        torch.testing.assert_close(variance.item(), 1 / (4 * (2 * alpha + 1)), rtol=0.05, atol=0)


def test_it_is_on_if_its_probability_is_positive():
    assert not Mixup().enabled
    assert Mixup(mixup_probability=0.1).enabled
