"""Wide residual networks (Zagoruyko and Komodakis, 2016, arXiv:1605.07146), without dropout."""

from __future__ import annotations

from torch import Tensor, nn

from cifar100.config.types import DropProbability
from cifar100.models import network
from cifar100.models.layers import init_convolutions, stage
from cifar100.models.residual import ResidualBlock, set_stochastic_depth


class WideBlock(ResidualBlock):
    """Batch normalisation and ReLU before each of two 3x3 convolutions, and a shortcut.

    Where the shape changes, the shortcut is a 1x1 convolution of the already normalised input, as in the authors' code.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        activated = self.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        residual = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        return self.drop(residual) + shortcut


class WideResNet(nn.Module):
    """Three stages of wide blocks at 1, 1/2 and 1/4 of the resolution.

    depth: 6 n + 4 for n blocks in each stage; the 28 of WRN-28-10.
    widen_factor: the stages have 16, 32 and 64 channels times this; the 10 of WRN-28-10.
    """

    def __init__(self, *, depth: int, widen_factor: int, num_classes: int) -> None:
        super().__init__()
        assert depth % 6 == 4, "a wide ResNet has 6 n + 4 layers"
        blocks_per_stage = (depth - 4) // 6
        width1, width2, width3 = (base * widen_factor for base in (16, 32, 64))
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.stage1 = stage(WideBlock, blocks_per_stage, 16, width1, stride=1)
        self.stage2 = stage(WideBlock, blocks_per_stage, width1, width2, stride=2)
        self.stage3 = stage(WideBlock, blocks_per_stage, width2, width3, stride=2)
        self.bn = nn.BatchNorm2d(width3)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width3, num_classes)
        init_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W), normalised. Returns logits (N, num_classes)."""
        x = self.stage3(self.stage2(self.stage1(self.conv1(images))))
        x = self.avgpool(self.relu(self.bn(x)))
        logits: Tensor = self.fc(x.flatten(1))
        return logits


@network(
    "wide_resnet28_10",
    paper="Zagoruyko and Komodakis 2016",
    parameters=36_536_884,
    mult_adds=5_243_386_368,
    accuracy=0.8075,
    accuracy_source="table 5",
)
def wide_resnet(name: str, num_classes: int, *, stochastic_depth: DropProbability = 0.0) -> WideResNet:
    """Build a WRN-28-10; `stochastic_depth` is described in `resnet`."""
    network = WideResNet(depth=28, widen_factor=10, num_classes=num_classes)
    set_stochastic_depth(network, stochastic_depth)
    return network
