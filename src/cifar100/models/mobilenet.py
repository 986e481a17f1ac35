"""MobileNetV2 with the CIFAR stem: the resolution is reduced by 8, not by 32.

M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381. The strides of
the first convolution and of the second stage are 1, as is usual on CIFAR. Convolutions are initialised as in
torchvision, whose number of parameters it has.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from cifar100.models import network
from cifar100.models.layers import conv_bn_relu, depthwise_bn, init_convolutions, pooled_classifier, stage

STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, blocks and stride; the paper's table 2."""


class InvertedResidual(nn.Module):
    """A 1x1 convolution to `expansion` times the channels, a depthwise 3x3 convolution and a linear 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, expansion: int) -> None:
        super().__init__()
        width = expansion * in_channels
        expand = [] if expansion == 1 else [conv_bn_relu(in_channels, width, 1, activation=nn.ReLU6)]
        self.residual = nn.Sequential(
            *expand,
            depthwise_bn(width, stride=stride),
            nn.ReLU6(inplace=True),
            nn.Conv2d(width, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        residual: Tensor = self.residual(x)
        return x + residual if self.has_shortcut else residual


class MobileNetV2(nn.Sequential):
    """A stem, seven stages of inverted residuals, a 1x1 convolution and a classifier."""

    def __init__(self, *, num_classes: int) -> None:
        in_channels = 32
        parts: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_bn_relu(3, in_channels, 3, activation=nn.ReLU6))
        for number, (expansion, out_channels, depth, stride) in enumerate(STAGES, start=1):
            block = partial(InvertedResidual, expansion=expansion)
            parts[f"stage{number}"] = stage(block, depth, in_channels, out_channels, stride=stride)
            in_channels = out_channels
        parts["last"] = conv_bn_relu(in_channels, 1280, 1, activation=nn.ReLU6)
        parts["classifier"] = pooled_classifier(1280, num_classes)
        super().__init__(parts)
        init_convolutions(self)


@network("mobilenet_v2", paper="Sandler et al. 2018", parameters=2_351_972, mult_adds=88_091_648)
def mobilenet_v2(name: str, num_classes: int) -> MobileNetV2:
    """Build a MobileNetV2 of width 1."""
    return MobileNetV2(num_classes=num_classes)
