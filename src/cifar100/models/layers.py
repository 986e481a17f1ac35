"""Layers that several networks share, and the initialisation of convolutions."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int, *, activation: type[nn.ReLU | nn.ReLU6] = nn.ReLU
) -> nn.Sequential:
    """Return a convolution that keeps the resolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        activation(inplace=True),
    )


def depthwise_bn(num_channels: int, *, stride: int) -> nn.Sequential:
    """Return a 3x3 convolution of each channel by itself, and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(num_channels, num_channels, 3, stride=stride, padding=1, groups=num_channels, bias=False),
        nn.BatchNorm2d(num_channels),
    )


def stage(
    block: Callable[[int, int, int], nn.Module], depth: int, in_channels: int, out_channels: int, *, stride: int
) -> nn.Sequential:
    """Return `depth` blocks, of which the first changes channels and resolution.

    block: makes one from its input channels, output channels and stride.
    """
    first = block(in_channels, out_channels, stride)
    rest = (block(out_channels, out_channels, 1) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)


def pooled_classifier(in_channels: int, num_classes: int) -> nn.Sequential:
    """Return global average pooling and a linear classifier, whose biases are 0 at first."""
    linear = nn.Linear(in_channels, num_classes)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


def init_convolutions(network: nn.Module) -> None:
    """Give convolutions normally distributed weights with variance 2 / fan-out, in place.

    K. He et al., "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852; by fan-out as in fb.resnet.torch, on
    which the authors of most networks here have built.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
