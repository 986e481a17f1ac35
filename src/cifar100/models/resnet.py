"""ResNet-18, -34 and -50 (He et al., 2016), with torchvision's layers, names and initialisation.

Written out here to avoid the dependency on torchvision, and to make the stem a choice. `imagenet` is the original stem;
it reduces a 32x32 image to a single pixel in layer4. `cifar` keeps the full resolution up to layer1. Weights saved by
torchvision load with `load_state_dict`.

`shortcut="average_pool"` gives the shortcuts of ResNet-D (He et al., "Bag of Tricks for Image Classification with
Convolutional Neural Networks", CVPR 2019, arXiv:1812.01187). If a stage halves the resolution, the shortcut averages
2x2 pixels, whereas a 1x1 convolution with stride 2 uses only one of them. The number of parameters is the same.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal

from torch import Tensor, nn

from cifar100.config.types import Annotated, Range
from cifar100.models import network
from cifar100.models.residual import ResidualBlock, set_stochastic_depth

Shortcut = Literal["projection", "average_pool"]


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and -34."""

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, width: int, stride: int, *, shortcut: Shortcut = "projection") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(in_channels, width, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, width, H / stride, W / stride)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.drop(residual) + shortcut)
        return out


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: the block of ResNet-50.

    The stride is on the 3x3 convolution, as in torchvision, not on the first 1x1 as in the paper.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, width: int, stride: int, *, shortcut: Shortcut = "projection") -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, 4 * width, H / stride, W / stride)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.drop(residual) + shortcut)
        return out


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, global average pooling and a linear classifier."""

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks_per_stage: tuple[int, int, int, int],
        *,
        num_classes: int,
        stem: Literal["imagenet", "cifar"],
        shortcut: Shortcut = "projection",
    ) -> None:
        super().__init__()
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1 = nn.Conv2d(3, 64, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        depth1, depth2, depth3, depth4 = blocks_per_stage
        self.layer1 = _stage(block, depth1, in_channels=64, width=64, stride=1, shortcut=shortcut)
        self.layer2 = _stage(block, depth2, in_channels=64 * block.expansion, width=128, stride=2, shortcut=shortcut)
        self.layer3 = _stage(block, depth3, in_channels=128 * block.expansion, width=256, stride=2, shortcut=shortcut)
        self.layer4 = _stage(block, depth4, in_channels=256 * block.expansion, width=512, stride=2, shortcut=shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W), normalised. Returns logits (N, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _stage(
    block: type[BasicBlock | Bottleneck], depth: int, *, in_channels: int, width: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    first = block(in_channels, width, stride, shortcut=shortcut)
    rest = (block(width * block.expansion, width, 1) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)


def _projection(in_channels: int, out_channels: int, stride: int, shortcut: Shortcut) -> nn.Sequential | None:
    """A 1x1 convolution for the shortcut where the block changes the shape, else None."""
    if stride == 1 and in_channels == out_channels:
        return None
    pool = stride > 1 and shortcut == "average_pool"
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if pool:  # named, so that the other layers keep their names; the last pixel of an odd side has no partner
        layers["pool"] = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
    layers["0"] = nn.Conv2d(in_channels, out_channels, 1, stride=1 if pool else stride, bias=False)
    layers["1"] = nn.BatchNorm2d(out_channels)
    return nn.Sequential(layers)


@network("resnet18", "resnet34", "resnet50")
def resnet(
    name: str,
    num_classes: int,
    *,
    stem: Literal["imagenet", "cifar"] = "cifar",
    shortcut: Literal["projection", "average_pool"] = "projection",
    stochastic_depth: Annotated[float, Range(0, 0.9)] = 0.0,
) -> ResNet:
    """Build a ResNet-18, -34 or -50.

    Args:
        name: `resnet18`, `resnet34` or `resnet50`.
        num_classes: width of the logits.
        stem: First layers of a ResNet. `imagenet`: 7x7 convolution with stride 2 and max-pooling. `cifar`: 3x3
            convolution, no pooling; more accurate on 32x32 images, at about 15 times the operations.
        shortcut: Shortcuts of a ResNet that halve the resolution. `projection`: a 1x1 convolution of every other pixel.
            `average_pool`: a 1x1 convolution of 2x2 averages (ResNet-D).
        stochastic_depth: Probability that the last residual block is skipped for a training image; it rises linearly
            from 0 over the blocks before it. For ResNets and wide ResNets.
    """
    block, blocks_per_stage = _VARIANTS[name]
    network = ResNet(block, blocks_per_stage, num_classes=num_classes, stem=stem, shortcut=shortcut)
    set_stochastic_depth(network, stochastic_depth)
    return network


_VARIANTS: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
