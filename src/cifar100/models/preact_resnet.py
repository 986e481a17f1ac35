"""PreActResNet-18: a ResNet-18 whose blocks normalise before they convolve, with the CIFAR stem.

K. He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv:1603.05027. Its blocks are those that wide
ResNets took over. The paper trains deeper networks; this one with 18 layers is that of many CIFAR papers, such as
H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv:1710.09412. Their code omits the paper's
last normalisation and ReLU, which are present here.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from cifar100.config.types import DropProbability
from cifar100.models import network
from cifar100.models.layers import init_convolutions, pooled_classifier, stage
from cifar100.models.residual import set_stochastic_depth
from cifar100.models.wide_resnet import WideBlock


class PreActResNet18(nn.Sequential):
    """Four stages of two blocks at 1, 1/2, 1/4 and 1/8 of the resolution."""

    def __init__(self, *, num_classes: int) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(3, 64, 3, padding=1, bias=False),
                stage1=stage(WideBlock, 2, 64, 64, stride=1),
                stage2=stage(WideBlock, 2, 64, 128, stride=2),
                stage3=stage(WideBlock, 2, 128, 256, stride=2),
                stage4=stage(WideBlock, 2, 256, 512, stride=2),
                bn=nn.BatchNorm2d(512),
                relu=nn.ReLU(inplace=True),
                classifier=pooled_classifier(512, num_classes),
            )
        )
        init_convolutions(self)


@network(
    "preact_resnet18",
    paper="He et al. 2016b",
    parameters=11_218_340,
    mult_adds=555_468_800,
    accuracy=0.744,
    accuracy_source="Zhang et al. 2018 (mixup), figure 3",
)
def preact_resnet18(name: str, num_classes: int, *, stochastic_depth: DropProbability = 0.0) -> PreActResNet18:
    """Build a PreActResNet-18; `stochastic_depth` is described in `resnet`."""
    network = PreActResNet18(num_classes=num_classes)
    set_stochastic_depth(network, stochastic_depth)
    return network
