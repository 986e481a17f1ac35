"""ShuffleNetV2 of width 1 with the CIFAR stem: the resolution is reduced by 8, not by 32.

N. Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018, arXiv:1807.11164.
The first convolution has stride 1 and no pooling follows it, as is usual on CIFAR. Weights are initialised as in the
authors' code; the number of parameters is that of torchvision.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar100.models import network
from cifar100.models.layers import conv_bn_relu, depthwise_bn, pooled_classifier, stage


class ShuffleUnit(nn.Module):
    """Two branches of half the output channels each, whose channels are then interleaved.

    With stride 1 a branch keeps half of the input, and the other convolves the other half. With stride 2 both convolve
    the whole input.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.convolving = nn.Sequential(
            conv_bn_relu(half if stride == 1 else in_channels, half, 1),
            depthwise_bn(half, stride=stride),
            conv_bn_relu(half, half, 1),
        )
        self.reducing: nn.Sequential | None = None
        if stride > 1:
            self.reducing = nn.Sequential(depthwise_bn(in_channels, stride=stride), conv_bn_relu(in_channels, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        first, second = x.chunk(2, dim=1) if self.reducing is None else (self.reducing(x), x)
        return F.channel_shuffle(torch.cat([first, self.convolving(second)], dim=1), 2)


class ShuffleNetV2(nn.Sequential):
    """A stem, three stages of units at 1/2, 1/4 and 1/8 of the resolution, a 1x1 convolution and a classifier."""

    def __init__(self, *, num_classes: int) -> None:
        super().__init__(
            OrderedDict(
                stem=conv_bn_relu(3, 24, 3),
                stage2=stage(ShuffleUnit, 4, 24, 116, stride=2),
                stage3=stage(ShuffleUnit, 8, 116, 232, stride=2),
                stage4=stage(ShuffleUnit, 4, 232, 464, stride=2),
                last=conv_bn_relu(464, 1024, 1),
                classifier=pooled_classifier(1024, num_classes),
            )
        )
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01 if name.startswith("stem") else 1 / module.weight.shape[1])
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)


@network("shufflenet_v2", paper="Ma et al. 2018", parameters=1_356_104, mult_adds=45_094_272)
def shufflenet_v2(name: str, num_classes: int) -> ShuffleNetV2:
    """Build a ShuffleNetV2 of width 1."""
    return ShuffleNetV2(num_classes=num_classes)
