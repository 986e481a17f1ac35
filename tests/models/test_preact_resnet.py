import torch
from torch import nn

from cifar100.models.preact_resnet import PreActResNet18


def test_stages_have_the_shapes_of_a_resnet18() -> None:
    x = torch.randn(1, 3, 32, 32)
    shapes = {}
    for name, part in PreActResNet18(num_classes=100).eval().named_children():
        x = part(x)
        shapes[name] = tuple(x.shape[1:])
    assert [shapes[f"stage{number}"] for number in (1, 2, 3, 4)] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]
    assert x.shape == (1, 100)


def test_the_input_reaches_the_last_stage_unchanged_but_for_shortcuts() -> None:
    """Identity mappings: without residuals, a stage of one resolution returns its input."""
    model = PreActResNet18(num_classes=10)
    for name, module in model.stage1.named_modules():
        if name.endswith("conv2"):
            assert isinstance(module, nn.Conv2d)
            nn.init.zeros_(module.weight)
    x = torch.randn(2, 64, 8, 8)
    assert torch.equal(model.stage1(x), x)
