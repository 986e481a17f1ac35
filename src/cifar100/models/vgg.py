"""VGG-16 with batch normalisation and a single linear layer, as is usual on CIFAR.

K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
arXiv:1409.1556: configuration D. The paper has no batch normalisation, and three linear layers on 7x7 pixels. The
convolutions have no biases, which batch normalisation would cancel.
"""

from __future__ import annotations

from torch import Tensor, nn

from cifar100.models import network
from cifar100.models.layers import conv_bn_relu, init_convolutions

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the 3x3 convolutions. Max-pooling follows each stage."""


class VGG16(nn.Module):
    """Five stages of 3x3 convolutions at 1, 1/2, 1/4, 1/8 and 1/16 of the resolution.

    The last pooling reduces any resolution to one pixel; at 32x32 it is the paper's.
    """

    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for number, widths in enumerate(STAGES):
            if number > 0:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layers.append(conv_bn_relu(in_channels, width, 3))
                in_channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(in_channels, num_classes)
        nn.init.zeros_(self.classifier.bias)
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W), normalised, H and W at least 16. Returns logits (N, num_classes)."""
        # Not AdaptiveMaxPool2d, whose gradient is not deterministic on CUDA.
        logits: Tensor = self.classifier(self.features(images).amax((2, 3)))
        return logits


@network("vgg16_bn", paper="Simonyan and Zisserman 2015", parameters=14_770_212, mult_adds=313_247_744)
def vgg16_bn(name: str, num_classes: int) -> VGG16:
    """Build a VGG-16 with batch normalisation."""
    return VGG16(num_classes=num_classes)
