"""PyramidNet-110 (alpha 270) and PyramidNet-272 (bottlenecks, alpha 200): every block adds some channels.

D. Han, J. Kim and J. Kim, "Deep Pyramidal Residual Networks", CVPR 2017, arXiv:1610.02915: the additive networks, in
which block k of n has 16 + k alpha / n channels, rounded. Shortcuts have no parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from cifar100.config.types import DropProbability
from cifar100.models import network
from cifar100.models.layers import init_convolutions, pooled_classifier
from cifar100.models.residual import ResidualBlock, set_stochastic_depth

FIRST_WIDTH = 16
"""Channels of the first convolution."""


class PyramidBlock(ResidualBlock):
    """Layers around which the shortcut averages 2x2 pixels if the stride is 2, and adds channels of zeros.

    added_channels: output channels of the layers less input channels.
    """

    def __init__(self, layers: nn.Sequential, added_channels: int, *, stride: int) -> None:
        super().__init__()
        self.layers = layers
        self.added_channels = added_channels
        # The last pixel of an odd side has no partner; the convolution keeps it as well.
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels + added_channels, H / stride, W / stride)."""
        shortcut = x if self.pool is None else self.pool(x)
        padded = F.pad(shortcut, (0, 0, 0, 0, 0, self.added_channels))
        return self.drop(self.layers(x)) + padded


def basic_layers(in_channels: int, width: int, stride: int) -> nn.Sequential:
    """Return two 3x3 convolutions, with normalisation before, between and after them, and no first ReLU."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
    )


def bottleneck_layers(in_channels: int, width: int, stride: int) -> nn.Sequential:
    """Return 1x1, 3x3 and 1x1 convolutions to 4 * width channels, normalised as in `basic_layers`."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.Conv2d(in_channels, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 4 * width, 1, bias=False),
        nn.BatchNorm2d(4 * width),
    )


class PyramidNet(nn.Sequential):
    """Three stages at 1, 1/2 and 1/4 of the resolution.

    layers: makes the layers of a block from its input channels, width and stride.
    expansion: output channels of a block over its width.
    alpha: widths from the first to the last block rise by this much.
    """

    def __init__(
        self,
        layers: Callable[[int, int, int], nn.Sequential],
        *,
        expansion: int,
        blocks_per_stage: int,
        alpha: int,
        num_classes: int,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(3, FIRST_WIDTH, 3, padding=1, bias=False), bn1=nn.BatchNorm2d(FIRST_WIDTH)
        )
        num_blocks, channels = 3 * blocks_per_stage, FIRST_WIDTH
        for stage in (1, 2, 3):
            blocks = []
            for number in range((stage - 1) * blocks_per_stage, stage * blocks_per_stage):
                width = round(FIRST_WIDTH + (number + 1) * alpha / num_blocks)
                stride = 2 if number in (blocks_per_stage, 2 * blocks_per_stage) else 1
                added_channels = expansion * width - channels
                blocks.append(PyramidBlock(layers(channels, width, stride), added_channels, stride=stride))
                channels += added_channels
            parts[f"stage{stage}"] = nn.Sequential(*blocks)
        parts["bn"] = nn.BatchNorm2d(channels)
        parts["relu"] = nn.ReLU(inplace=True)
        parts["classifier"] = pooled_classifier(channels, num_classes)
        super().__init__(parts)
        init_convolutions(self)


@network(
    "pyramidnet110_270",
    paper="Han et al. 2017",
    parameters=28_511_307,
    mult_adds=4_718_009_464,
    accuracy=0.8175,
    accuracy_source="table 4",
)
@network(
    "pyramidnet272_200",
    paper="Han et al. 2017",
    parameters=26_288_692,
    mult_adds=4_488_855_936,
    accuracy=0.8365,
    accuracy_source="table 4",
)
def pyramidnet(name: str, num_classes: int, *, stochastic_depth: DropProbability = 0.0) -> PyramidNet:
    """Build a PyramidNet-110 or -272; `stochastic_depth` is described in `resnet`."""
    if name == "pyramidnet110_270":
        network = PyramidNet(basic_layers, expansion=1, blocks_per_stage=18, alpha=270, num_classes=num_classes)
    else:
        network = PyramidNet(bottleneck_layers, expansion=4, blocks_per_stage=30, alpha=200, num_classes=num_classes)
    set_stochastic_depth(network, stochastic_depth)
    return network
