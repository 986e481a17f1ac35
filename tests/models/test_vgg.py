import torch
from torch import nn

from cifar100.models.vgg import VGG16


def test_16_layers_with_weights() -> None:
    with torch.device("meta"):
        model = VGG16(num_classes=100)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 13  # the three linear layers of the paper are one here
    assert [layer.out_channels for layer in convolutions] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6


def test_at_32_pixels_the_last_pooling_is_2x2_max_pooling() -> None:
    model = VGG16(num_classes=10).eval()
    images = torch.randn(2, 3, 32, 32)
    pooled = nn.functional.max_pool2d(model.features(images), 2)
    assert pooled.shape == (2, 512, 1, 1)
    torch.testing.assert_close(model(images), model.classifier(pooled.flatten(1)))
