import torch
from torch import nn
from torch.nn import functional as F

from cifar100.models.resnet import Bottleneck
from cifar100.models.resnext import GROUPS, WIDTH_RATIO, ResNeXt29


def test_there_are_29_layers_and_the_papers_widths() -> None:
    with torch.device("meta"):
        model = ResNeXt29(num_classes=100)
    layers = [module for name, module in model.named_modules() if "downsample" not in name]
    convolutions = [module for module in layers if isinstance(module, nn.Conv2d)]
    assert len(convolutions) + sum(isinstance(module, nn.Linear) for module in layers) == 29
    grouped = [(module.in_channels, module.groups) for module in convolutions if module.groups > 1]
    assert grouped == [(64 * 8, 8)] * 3 + [(128 * 8, 8)] * 3 + [(256 * 8, 8)] * 3


def test_a_block_is_the_sum_of_8_small_bottlenecks() -> None:
    """The paper's figure 3 (a) and (c): the grouped convolution equals 8 separate paths that are added."""
    torch.manual_seed(0)
    block = Bottleneck(16, 16, 1, width_ratio=WIDTH_RATIO, groups=GROUPS).eval()
    x = torch.randn(2, 16, 6, 6)
    expected = x.clone()
    for path in range(GROUPS):
        part = slice(4 * path, 4 * path + 4)
        inner = F.relu(F.conv2d(x, block.conv1.weight[part]))
        inner = F.relu(F.conv2d(inner, block.conv2.weight[part], padding=1))
        expected += F.conv2d(inner, block.conv3.weight[:, part])
    for norm in (block.bn1, block.bn2, block.bn3):
        norm.eps = 0.0  # the running statistics are 0 and 1: no change
    torch.testing.assert_close(block(x), F.relu(expected))
