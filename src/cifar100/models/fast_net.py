"""A small network for short runs: a frozen whitening convolution, then six or nine 3x3 convolutions.

It follows K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, arXiv:2404.00498, and later CIFAR-100
speed runs. The paper's network for its longest runs has nine convolutions, and residual connections.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar100.config.types import Annotated, Range
from cifar100.models import network

PATCH_SIDE = 2
PATCH_SIZE = 3 * PATCH_SIDE**2
WHITENING_EPSILON = 5e-4
"""Added to the variance of each direction of patch space (images normalised), so that directions without variance,
which hold only rounding errors, are not amplified. The paper's value."""

MIN_VARIANCE = 1e-5
"""Of a direction of patch space. Rounding to 8 bits alone gives more. Grey images and constant channels have
directions without variance: a feature that is the same in all images, which batch normalisation would divide by 0."""

LOGIT_SCALE = 1 / 3
"""Keeps the first logits small and slows down the head, whose effective learning rate grows with its square.
Chosen for one learning rate for all layers: with SGD at 0.1 and 0.3, widths 32/64/128, 3 epochs of 20,000 CIFAR-100
training images gave 36.6 and 41.6 % on 5,000 others; the paper's 1/9, for a head with a separate rate, 20.8 and 33.5;
no scale 34.6 and 31.0 (one seed)."""


class FastNet(nn.Module):
    """Whitening, three stages at 1/2, 1/4 and 1/8 of the resolution, and a linear head on pooled features.

    Images have sides of at least 16 pixels, which may change during training.

    Args:
        widths: channels of the three stages.
        num_classes: width of the logits.
        convolutions: of each stage, 2 or 3.
    """

    def __init__(self, widths: tuple[int, int, int], *, num_classes: int, convolutions: int = 2) -> None:
        super().__init__()
        width1, width2, width3 = widths
        self.whitening = nn.Conv2d(3, 2 * PATCH_SIZE, PATCH_SIDE)
        self.whitening.weight.requires_grad_(False)
        self.stage1 = Stage(2 * PATCH_SIZE, width1, convolutions)
        self.stage2 = Stage(width1, width2, convolutions)
        self.stage3 = Stage(width2, width3, convolutions)
        self.head = nn.Linear(width3, num_classes, bias=False)
        nn.init.zeros_(self.whitening.bias)  # type: ignore[arg-type]  # a convolution made with a bias has one

    def forward(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W), normalised, H and W at least 16. Returns logits (N, num_classes)."""
        x = F.silu(self.whitening(images))
        x = self.stage3(self.stage2(self.stage1(x)))
        pooled = x.amax((2, 3)) + x.mean((2, 3))  # (N, width3)
        logits: Tensor = self.head(pooled) * LOGIT_SCALE
        return logits

    def init_from_images(self, images: Tensor) -> None:
        """Set the whitening filters from training images, float (N, 3, H, W), normalised; a few thousand are enough."""
        with torch.no_grad():
            self.whitening.weight.copy_(whitening_filters(images))


class Stage(nn.Module):
    """Two or three 3x3 convolutions, the first one followed by max-pooling to half the resolution.

    With three, a residual connection leads around the second and the third.
    """

    def __init__(self, in_channels: int, out_channels: int, convolutions: int = 2) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, out_channels)
        self.pool = nn.MaxPool2d(2)
        self.bn1 = _batch_norm(out_channels)
        self.conv2 = _convolution(out_channels, out_channels)
        self.bn2 = _batch_norm(out_channels)
        self.has_residual = convolutions == 3
        if self.has_residual:
            self.conv3 = _convolution(out_channels, out_channels)
            self.bn3 = _batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H // 2, W // 2)."""
        x = F.silu(self.bn1(self.pool(self.conv1(x))))
        y = F.silu(self.bn2(self.conv2(x)))
        return F.silu(x + self.bn3(self.conv3(y))) if self.has_residual else y


def whitening_filters(images: Tensor, *, epsilon: float = WHITENING_EPSILON) -> Tensor:
    """Return 2x2 filters whose outputs over the patches of `images` are uncorrelated, with variance near 1.

    images: float (N, 3, H, W), on any device. Returns float32 (24, 3, 2, 2) on the CPU: the eigenvectors of the
    covariance of all patches, each divided by the square root of its variance plus `epsilon`, then the same negated,
    because the activation that follows keeps one sign only. In place of directions without variance the others are
    repeated.
    """
    covariance = _patch_covariance(images)
    variances, directions = torch.linalg.eigh(covariance)  # directions are the columns; variances rise
    filters = (directions / (variances + epsilon).sqrt()).flip(1)
    num_varying = int((variances > MIN_VARIANCE).sum()) or PATCH_SIZE
    filters = filters[:, torch.arange(PATCH_SIZE) % num_varying]
    filters = filters.T.reshape(PATCH_SIZE, 3, PATCH_SIDE, PATCH_SIDE).float()
    return torch.cat([filters, -filters])


def _patch_covariance(images: Tensor) -> Tensor:
    """Return the covariance of all 2x2 patches, float64 (12, 12) on the CPU, in the order of a filter's weights."""
    total = torch.zeros(PATCH_SIZE, dtype=torch.float64)
    products = torch.zeros(PATCH_SIZE, PATCH_SIZE, dtype=torch.float64)
    count = 0
    for some in torch.split(images, 500):  # bounds the memory: patches are four times the images
        patches = F.unfold(some, PATCH_SIDE).transpose(1, 2).reshape(-1, PATCH_SIZE)
        # Products in float32, sums over the parts in float64: not every device has float64.
        total += patches.sum(0).cpu()
        products += (patches.T @ patches).cpu()
        count += len(patches)
    mean = total / count
    return products / count - torch.outer(mean, mean)


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a 3x3 convolution that at first copies its input channels into its first output channels."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:in_channels])
    return convolution


def _batch_norm(num_channels: int) -> nn.BatchNorm2d:
    """Return a batch normalisation that learns a bias and no scale.

    Its running statistics forget quickly (torch's momentum 0.4, not 0.1): a run has few steps, and images that grow
    during training change the statistics.
    """
    batch_norm = nn.BatchNorm2d(num_channels, momentum=0.4)
    batch_norm.weight.requires_grad_(False)
    return batch_norm


@network("fast_net", paper="Jordan 2024", parameters=1_995_832, mult_adds=118_170_400)
def fast_net(
    name: str,
    num_classes: int,
    *,
    widths: Annotated[tuple[int, int, int], Range(1, 16_384)] = (64, 256, 256),
    convolutions: Annotated[int, Range(2, 3)] = 2,
) -> FastNet:
    """Build the small network of the recipes `fast`, `laptop`, `evening` and `quickstart`.

    Args:
        name: `fast_net`.
        num_classes: width of the logits.
        widths: Channels of the three stages of `fast_net`.
        convolutions: Convolutions of each stage of `fast_net`: 2, or 3 with a residual connection around the last two.
    """
    return FastNet(widths, num_classes=num_classes, convolutions=convolutions)
