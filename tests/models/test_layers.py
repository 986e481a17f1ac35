"""Layers that several networks share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cifar100.models.layers import conv_bn_relu, depthwise_bn, init_convolutions, pooled_classifier, stage
from cifar100.models.wide_resnet import WideBlock


def test_only_the_first_block_of_a_stage_changes_channels_and_resolution() -> None:
    shapes = []
    x = torch.randn(2, 4, 8, 8)
    for block in stage(WideBlock, 3, 4, 6, stride=2):
        x = block(x)
        shapes.append(tuple(x.shape))
    assert shapes == [(2, 6, 4, 4)] * 3


def test_a_depthwise_convolution_keeps_channels_apart() -> None:
    layers = depthwise_bn(4, stride=2).eval()
    x = torch.randn(1, 4, 8, 8)
    changed = x.clone()
    changed[:, 1] += 1
    differs = (layers(x) != layers(changed)).flatten(2).any(2)
    assert differs.tolist() == [[False, True, False, False]]
    assert layers(x).shape == (1, 4, 4, 4)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_keeps_the_resolution_and_its_output_is_bounded_below(kernel: int) -> None:
    x = torch.randn(2, 3, 9, 9)
    out = conv_bn_relu(3, 5, kernel)(x)
    assert out.shape == (2, 5, 9, 9)
    assert out.min() == 0
    assert conv_bn_relu(3, 5, kernel, activation=nn.ReLU6)(1e3 * x).max() <= 6


def test_the_classifier_is_linear_in_the_mean_over_pixels() -> None:
    classifier = pooled_classifier(5, 7)
    weight = classifier.get_parameter("2.weight")
    x = torch.randn(3, 5, 4, 4)
    torch.testing.assert_close(classifier(x), x.mean((2, 3)) @ weight.T)


def test_the_variance_of_a_convolution_is_2_over_its_fan_out() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 128, 3, groups=8), nn.Linear(128, 10))
    before = network.get_parameter("1.weight").clone()
    init_convolutions(network)
    assert network.get_parameter("0.weight").var().item() == pytest.approx(2 / (128 * 9), rel=0.05)
    assert torch.equal(network.get_parameter("1.weight"), before)
