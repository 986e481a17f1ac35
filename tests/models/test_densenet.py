import torch
from torch import nn

from cifar100.models.densenet import DenseLayer, DenseNet


def test_channels_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        model = DenseNet(depth=100, growth=12, num_classes=100)
        x = torch.empty(1, 3, 32, 32)
        shapes = {}
        for name, part in model.named_children():
            x = part(x)
            shapes[name] = tuple(x.shape[1:])
    assert shapes == {
        "conv1": (24, 32, 32),
        "block1": (24 + 16 * 12, 32, 32),
        "transition1": (108, 16, 16),
        "block2": (108 + 16 * 12, 16, 16),
        "transition2": (150, 8, 8),
        "block3": (150 + 16 * 12, 8, 8),
        "bn": (342, 8, 8),
        "relu": (342, 8, 8),
        "classifier": (100,),
    }


def test_the_depth_counts_convolutions_and_the_classifier() -> None:
    with torch.device("meta"):
        model = DenseNet(depth=40, growth=12, num_classes=100)
    assert sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in model.modules()) == 40


def test_a_layer_keeps_its_input_and_adds_channels() -> None:
    x = torch.randn(2, 6, 4, 4)
    before = x.clone()
    out = DenseLayer(6, 3)(x)
    assert out.shape == (2, 9, 4, 4)
    assert torch.equal(out[:, :6], before)
    assert torch.equal(x, before)
