"""SE-ResNet-18: a ResNet-18 with squeeze-and-excitation in every block, with the CIFAR stem.

J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507. The paper trains deeper networks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cifar100.config.types import DropProbability
from cifar100.models import network
from cifar100.models.residual import set_stochastic_depth
from cifar100.models.resnet import BasicBlock, ResNet, Shortcut

REDUCTION = 16
"""Channels over the hidden units of the excitation; the paper's r."""


class SqueezeExcitation(nn.Module):
    """Scale every channel by a number from 0 to 1, computed from the means of all channels.

    Its layers have no biases, as in the paper's count of parameters.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(num_channels, num_channels // REDUCTION, bias=False)
        self.expand = nn.Linear(num_channels // REDUCTION, num_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        hidden = torch.relu(self.reduce(x.mean((2, 3))))  # (N, C / 16)
        scales = torch.sigmoid(self.expand(hidden))  # (N, C)
        return x * scales[:, :, None, None]


class SEBasicBlock(BasicBlock):
    """A basic block that scales the channels of its residual."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, shortcut: Shortcut = "projection") -> None:
        super().__init__(in_channels, out_channels, stride, shortcut=shortcut)
        self.excitation = SqueezeExcitation(out_channels)

    def residual(self, x: Tensor) -> Tensor:
        """Convolve twice, and scale the channels."""
        residual: Tensor = self.excitation(super().residual(x))
        return residual


@network("se_resnet18", paper="Hu et al. 2018", parameters=11_307_172, mult_adds=555_555_840)
def se_resnet18(name: str, num_classes: int, *, stochastic_depth: DropProbability = 0.0) -> ResNet:
    """Build an SE-ResNet-18; `stochastic_depth` is described in `resnet`."""
    network = ResNet(SEBasicBlock, (2, 2, 2, 2), num_classes=num_classes, stem="cifar")
    set_stochastic_depth(network, stochastic_depth)
    return network
