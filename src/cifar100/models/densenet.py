"""DenseNet-BC with 100 layers and growth rate 12.

G. Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, arXiv:1608.06993. B: a 1x1 convolution before
each 3x3 convolution. C: the layers between two dense blocks halve the number of channels.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from cifar100.models import network
from cifar100.models.layers import init_convolutions, pooled_classifier


class DenseLayer(nn.Sequential):
    """Normalisation, ReLU and a 1x1 convolution to 4 * growth channels, then the same with 3x3 to `growth` channels."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels + growth, H, W): new channels after the unchanged input."""
        added: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return torch.cat([x, added], dim=1)


class DenseNet(nn.Sequential):
    """Three dense blocks at 1, 1/2 and 1/4 of the resolution.

    depth: 6 n + 4 for n layers of two convolutions in each block.
    growth: channels that each layer adds.
    """

    def __init__(self, *, depth: int, growth: int, num_classes: int) -> None:
        assert depth % 6 == 4, "a DenseNet-BC has 6 n + 4 layers"
        layers_per_block = (depth - 4) // 6
        channels = 2 * growth
        parts: OrderedDict[str, nn.Module] = OrderedDict(conv1=nn.Conv2d(3, channels, 3, padding=1, bias=False))
        for block in (1, 2, 3):
            layers = [DenseLayer(channels + number * growth, growth) for number in range(layers_per_block)]
            parts[f"block{block}"] = nn.Sequential(*layers)
            channels += layers_per_block * growth
            if block < 3:
                parts[f"transition{block}"] = _transition(channels)
                channels //= 2
        parts["bn"] = nn.BatchNorm2d(channels)
        parts["relu"] = nn.ReLU(inplace=True)
        parts["classifier"] = pooled_classifier(channels, num_classes)
        super().__init__(parts)
        init_convolutions(self)


def _transition(in_channels: int) -> nn.Sequential:
    """Return layers that halve the number of channels and the resolution."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, in_channels // 2, 1, bias=False),
        nn.AvgPool2d(2),
    )


@network(
    "densenet_bc_100_12",
    paper="Huang et al. 2017",
    parameters=800_032,
    mult_adds=287_960_472,
    accuracy=0.7773,
    accuracy_source="table 2, C100+",
)
def densenet(name: str, num_classes: int) -> DenseNet:
    """Build a DenseNet-BC with 100 layers and growth rate 12."""
    return DenseNet(depth=100, growth=12, num_classes=num_classes)
