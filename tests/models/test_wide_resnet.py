import torch
from torch import nn

from cifar100.models.wide_resnet import WideBlock, WideResNet


def test_the_depth_is_the_number_of_convolutions() -> None:
    model = WideResNet(depth=28, widen_factor=2, num_classes=100)
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    shortcuts = [name for name in convolutions if name.endswith("shortcut")]
    # The paper's 28: the first one, 3 stages * 4 blocks * 2, and 3 in the shortcuts where the stages begin.
    assert len(convolutions) == 28
    assert len(shortcuts) == 3


def test_stages_have_the_papers_shapes() -> None:
    model = WideResNet(depth=10, widen_factor=2, num_classes=100)
    x = model.conv1(torch.randn(1, 3, 32, 32))
    shapes = []
    for stage in (model.stage1, model.stage2, model.stage3):
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]


def test_a_block_without_change_of_shape_adds_to_its_untouched_input() -> None:
    block = WideBlock(4, 4, stride=1)
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    assert torch.equal(block(x), before)
    assert torch.equal(x, before)
