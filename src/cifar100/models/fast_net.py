"""A small network for short runs: a frozen whitening convolution, then six or nine 3x3 convolutions.

It follows K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, arXiv:2404.00498, whose networks for
short and for long runs are the blocks `plain` and `residual`. The blocks `narrow` are those of the CIFAR-100 speed runs
of 2026, https://github.com/AIDDA-Institute/CIFAR-100-speedrun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class Blocks:
    """The three stages of a network."""

    kernels: tuple[tuple[int, ...], ...]
    """Sizes of the kernels of each stage. With three, a residual connection leads around the second and the third."""

    inner_widths: tuple[float, ...] = (1, 1, 1)
    """Output channels of the second convolution of each stage, as a fraction of the width of the stage."""

    activated: Literal["sum", "branch"] = "sum"
    """What the last activation of a residual stage is applied to: input plus branch, or the branch alone."""

    trained_scale: bool = False
    """Whether the batch normalisations learn a scale. Without it they learn a bias only."""

    momentum: float = 0.4
    """Of the running statistics of the batch normalisations, as torch defines it. High, so that they forget quickly: a
    run has few steps, and images that grow during training change the statistics."""


BLOCKS = {
    "plain": Blocks(((3, 3), (3, 3), (3, 3))),
    "residual": Blocks(((3, 3, 3), (3, 3, 3), (3, 3, 3))),
    "narrow": Blocks(((3, 1, 1), (3, 3, 1), (2, 3, 3)), (1, 3 / 4, 2 / 3), "branch", trained_scale=True, momentum=0.1),
}


class FastNet(nn.Module):
    """Whitening, three stages at 1/2, 1/4 and 1/8 of the resolution, and a linear head on pooled features.

    Images have sides of at least 16 pixels, which may change during training. Arguments: those of `fast_net`.
    """

    def __init__(
        self, widths: tuple[int, int, int], *, num_classes: int, blocks: str = "plain", logit_scale: float = 1 / 3
    ) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, 2 * PATCH_SIZE, PATCH_SIDE)
        self.whitening.weight.requires_grad_(False)
        inputs = (2 * PATCH_SIZE, *widths)
        self.stage1, self.stage2, self.stage3 = (
            Stage(inputs[i], widths[i], BLOCKS[blocks], number=i) for i in range(3)
        )
        self.head = nn.Linear(widths[-1], num_classes, bias=False)
        self.logit_scale = logit_scale
        nn.init.zeros_(self.whitening.bias)  # type: ignore[arg-type]  # a convolution made with a bias has one

    def forward(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W), normalised, H and W at least 16. Returns logits (N, num_classes)."""
        x = F.silu(self.whitening(images))
        x = self.stage3(self.stage2(self.stage1(x)))
        pooled = x.amax((2, 3)) + x.mean((2, 3))  # (N, width3)
        logits: Tensor = self.head(pooled) * self.logit_scale
        return logits

    def init_from_images(self, images: Tensor) -> None:
        """Set the whitening filters from training images, float (N, 3, H, W), normalised; a few thousand are enough."""
        with torch.no_grad():
            self.whitening.weight.copy_(whitening_filters(images))


class Stage(nn.Module):
    """Two or three convolutions, the first one followed by max-pooling to half the resolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        blocks: the network's.
        number: of this stage, from 0.
    """

    def __init__(self, in_channels: int, out_channels: int, blocks: Blocks, *, number: int) -> None:
        super().__init__()
        kernels = blocks.kernels[number]
        inner_width = round(blocks.inner_widths[number] * out_channels)
        self.conv1 = _convolution(in_channels, out_channels, kernels[0])
        self.pool = nn.MaxPool2d(2)
        self.bn1 = _batch_norm(out_channels, blocks)
        self.conv2 = _convolution(out_channels, inner_width, kernels[1])
        self.bn2 = _batch_norm(inner_width, blocks)
        self.activated = blocks.activated if len(kernels) == 3 else None
        if self.activated:
            self.conv3 = _convolution(inner_width, out_channels, kernels[2])
            self.bn3 = _batch_norm(out_channels, blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H // 2, W // 2)."""
        if self.conv1.kernel_size == (2, 2):
            x = F.pad(x, (0, 1, 0, 1))  # so that the output is as large as the input
        x = F.silu(self.bn1(self.pool(self.conv1(x))))
        y = F.silu(self.bn2(self.conv2(x)))
        if not self.activated:
            return y
        y = self.bn3(self.conv3(y))
        return F.silu(x + y) if self.activated == "sum" else x + F.silu(y)


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


def _convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """Return a convolution that at first copies its input channels into its first output channels."""
    padding = (kernel_size - 1) // 2
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False)
    copies = torch.arange(min(in_channels, out_channels))
    with torch.no_grad():
        convolution.weight[copies] = 0
        convolution.weight[copies, copies, padding, padding] = 1
    return convolution


def _batch_norm(num_channels: int, blocks: Blocks) -> nn.BatchNorm2d:
    batch_norm = nn.BatchNorm2d(num_channels, momentum=blocks.momentum)
    batch_norm.weight.requires_grad_(blocks.trained_scale)
    return batch_norm


@network("fast_net", paper="Jordan 2024", parameters=1_995_832, mult_adds=118_170_400)
def fast_net(
    name: str,
    num_classes: int,
    *,
    widths: Annotated[tuple[int, int, int], Range(1, 16_384)] = (64, 256, 256),
    blocks: Literal["plain", "residual", "narrow"] = "plain",
    # The default, 1/3, suits one learning rate for all layers: with SGD at 0.1 and 0.3, widths 32/64/128, 3 epochs of
    # 20,000 CIFAR-100 training images gave 36.6 and 41.6 % on 5,000 others. The paper's 1/9, for a head with a separate
    # rate, gave 20.8 and 33.5, and no scale 34.6 and 31.0 (one seed).
    logit_scale: Annotated[float, Range(0, 100, above=True)] = 0.3333333333333333,
) -> FastNet:
    """Build the small network of the recipes `fast`, `laptop`, `evening` and `quickstart`.

    Args:
        name: `fast_net`.
        num_classes: width of the logits.
        widths: Channels of the three stages of `fast_net`.
        blocks: Convolutions of each stage of `fast_net`: `plain` is two, `residual` three with a residual connection
            around the last two. `narrow` also has three, with smaller kernels and fewer channels between the last two,
            and batch normalisations that learn a scale.
        logit_scale: Factor of the logits of `fast_net`. A small one slows down the head, whose effective learning rate
            grows with its square. The default suits one learning rate for all parameters.
    """
    return FastNet(widths, num_classes=num_classes, blocks=blocks, logit_scale=logit_scale)
