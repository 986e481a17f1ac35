"""ResNet-18, -34 and -50, with torchvision's layers, names and initialisation.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.

Written out here to avoid the dependency on torchvision, and to make the stem a choice. `imagenet` is the original stem;
it reduces a 32x32 image to a single pixel in layer4. `cifar` keeps the full resolution up to layer1. Weights saved by
torchvision load with `load_state_dict`.

`shortcut="average_pool"` gives the shortcuts of ResNet-D (He et al., "Bag of Tricks for Image Classification with
Convolutional Neural Networks", CVPR 2019, arXiv:1812.01187). If a stage halves the resolution, the shortcut averages
2x2 pixels, whereas a 1x1 convolution with stride 2 uses only one of them. The number of parameters is the same.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor, nn

from cifar100.config.types import DropProbability
from cifar100.models import network
from cifar100.models.layers import init_convolutions, stage
from cifar100.models.residual import ResidualBlock, set_stochastic_depth

Shortcut = Literal["projection", "average_pool"]


class PostActivationBlock(ResidualBlock):
    """A residual block that ends with a ReLU. Subclasses have `residual(x)`, `downsample` and `relu`."""

    downsample: nn.Sequential | None
    relu: nn.ReLU

    def residual(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        residual = self.residual(x)
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.drop(residual) + shortcut)
        return out


class BasicBlock(PostActivationBlock):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and -34."""

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, shortcut: Shortcut = "projection") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = _projection(in_channels, out_channels, stride, shortcut)

    def residual(self, x: Tensor) -> Tensor:
        """Convolve twice."""
        residual: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return residual


class Bottleneck(PostActivationBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: the block of ResNet-50, and with groups that of ResNeXt.

    The stride is on the 3x3 convolution, as in torchvision, not on the first 1x1 as in the paper.

    width_ratio: channels of the 3x3 convolution over `out_channels`.
    groups: parts into which the channels of the 3x3 convolution are divided.
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        shortcut: Shortcut = "projection",
        width_ratio: float = 1 / 4,
        groups: int = 1,
    ) -> None:
        super().__init__()
        width = int(out_channels * width_ratio)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride, shortcut)

    def residual(self, x: Tensor) -> Tensor:
        """Convolve three times."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        out: Tensor = self.bn3(self.conv3(residual))
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
        make_block = partial(block, shortcut=shortcut)
        depth1, depth2, depth3, depth4 = blocks_per_stage
        width1, width2, width3, width4 = (base * block.expansion for base in (64, 128, 256, 512))
        self.layer1 = stage(make_block, depth1, 64, width1, stride=1)
        self.layer2 = stage(make_block, depth2, width1, width2, stride=2)
        self.layer3 = stage(make_block, depth3, width2, width3, stride=2)
        self.layer4 = stage(make_block, depth4, width3, width4, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width4, num_classes)
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W), normalised. Returns logits (N, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


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


@network(
    "resnet18",
    paper="He et al. 2016",
    parameters=11_220_132,
    mult_adds=555_468_800,
    accuracy=0.7754,
    accuracy_source="DeVries and Taylor 2017, table 1",
)
@network("resnet34", paper="He et al. 2016", parameters=21_328_292, mult_adds=1_159_448_576)
@network("resnet50", paper="He et al. 2016", parameters=23_705_252, mult_adds=1_298_014_208)
def resnet(
    name: str,
    num_classes: int,
    *,
    stem: Literal["imagenet", "cifar"] = "cifar",
    shortcut: Literal["projection", "average_pool"] = "projection",
    stochastic_depth: DropProbability = 0.0,
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
            from 0 over the blocks before it. For residual networks.
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
