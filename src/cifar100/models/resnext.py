"""ResNeXt-29 8x64d: bottlenecks whose 3x3 convolution is divided into 8 groups.

S. Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017, arXiv:1611.05431. The blocks
end with a ReLU as in the authors' code, whose notes prefer them on CIFAR to the pre-activated ones of the paper.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn

from cifar100.config.types import DropProbability
from cifar100.models import network
from cifar100.models.layers import conv_bn_relu, init_convolutions, pooled_classifier, stage
from cifar100.models.residual import set_stochastic_depth
from cifar100.models.resnet import Bottleneck

GROUPS = 8

WIDTH_RATIO = 2
"""Channels of the 3x3 convolution over those of the block's output: 8 groups of 64 channels for 256 in stage 1."""


class ResNeXt29(nn.Sequential):
    """Three stages of three bottlenecks at 1, 1/2 and 1/4 of the resolution."""

    def __init__(self, *, num_classes: int) -> None:
        block = partial(Bottleneck, width_ratio=WIDTH_RATIO, groups=GROUPS)
        super().__init__(
            OrderedDict(
                stem=conv_bn_relu(3, 64, 3),
                stage1=stage(block, 3, 64, 256, stride=1),
                stage2=stage(block, 3, 256, 512, stride=2),
                stage3=stage(block, 3, 512, 1024, stride=2),
                classifier=pooled_classifier(1024, num_classes),
            )
        )
        init_convolutions(self)


@network(
    "resnext29_8x64d",
    paper="Xie et al. 2017",
    parameters=34_518_948,
    mult_adds=5_387_358_208,
    accuracy=0.8223,
    accuracy_source="table 7",
)
def resnext29(name: str, num_classes: int, *, stochastic_depth: DropProbability = 0.0) -> ResNeXt29:
    """Build a ResNeXt-29 8x64d; `stochastic_depth` is described in `resnet`."""
    network = ResNeXt29(num_classes=num_classes)
    set_stochastic_depth(network, stochastic_depth)
    return network
