import torch
from torch import nn

from cifar100.models.mobilenet import InvertedResidual, MobileNetV2


def test_shapes_are_those_of_the_paper_with_the_resolution_of_cifar() -> None:
    with torch.device("meta"):
        model = MobileNetV2(num_classes=100)
        x = torch.empty(1, 3, 32, 32)
        shapes = []
        for part in model:
            x = part(x)
            shapes.append(tuple(x.shape[1:]))
    widths_and_sides = [(32, 32), (16, 32), (24, 32), (32, 16), (64, 8), (96, 8), (160, 4), (320, 4), (1280, 4)]
    assert shapes == [*((width, side, side) for width, side in widths_and_sides), (100,)]


def test_a_block_has_a_shortcut_if_the_shape_stays() -> None:
    x = torch.randn(2, 8, 6, 6)
    block = InvertedResidual(8, 8, 1, expansion=6)
    last = block.residual[-1]
    assert isinstance(last, nn.BatchNorm2d)
    nn.init.zeros_(last.weight)
    assert torch.equal(block(x), x)
    for out_channels, stride in ((8, 2), (10, 1)):
        block = InvertedResidual(8, out_channels, stride, expansion=6)
        torch.testing.assert_close(block.eval()(x), block.residual(x))


def test_the_last_convolution_of_a_block_is_linear() -> None:
    out = InvertedResidual(8, 16, 1, expansion=6)(torch.randn(4, 8, 6, 6))
    assert out.min() < 0
