"""The network as it is exported: from images of any size to probabilities, in one graph.

The graph resizes as Pillow's `ImageOps.fit` with BICUBIC does, which `read_image` uses: each pass is a product with a
matrix of filter weights that is computed from the size of the image, rounded to whole pixel values. It needs no
operator for resizing, whose filters differ between runtimes. Two kinds of images differ from `read_image`: Pillow 13
passes over the rows first if an image is more than about twice as high as wide, and images of more than four megapixels
are first averaged. Both change the rounding only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cifar100.data.image_batches import IMAGE_SIDE, normalize, resize
from cifar100.runs.trained_network import TrainedNetwork


class DeployedNetwork(nn.Module):
    """Maps images, uint8 (N, 3, H, W) RGB of any size, to probabilities, float32 (N, num_classes)."""

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        self.network = trained.network
        self.temperature = trained.temperature
        self.side = trained.side or IMAGE_SIDE
        mean, std = trained.normalization
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.eval()

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 (N, 3, H, W). Returns the probabilities."""
        logits: Tensor = self.network(resize(normalize(fit(images), self.mean, self.std), self.side))
        return (logits.float() / self.temperature).softmax(dim=1)


def fit(images: Tensor) -> Tensor:
    """Scale the shorter side to 32 pixels and crop the centre.

    images: uint8 (N, 3, H, W). Returns whole numbers from 0 to 255, float32 (N, 3, 32, 32). Images of 32x32 pixels are
    not changed.
    """
    rows, columns = (torch.arange(images.shape[axis], dtype=torch.float32, device=images.device) for axis in (2, 3))
    height, width = rows[-1] + 1, columns[-1] + 1  # as tensors: the size is an input of the exported graph
    side = torch.minimum(height, width)
    narrow = _rounded(images.float() @ _weights(columns, (width - side) / 2, side).T)  # (N, 3, H, 32)
    return _rounded(_weights(rows, (height - side) / 2, side) @ narrow)


def _weights(positions: Tensor, start: Tensor, side: Tensor) -> Tensor:
    """Return the weight of each input pixel in each output pixel, (32, positions).

    The input is the interval from `start` to `start + side`. If it is scaled down, the filter is as much wider.
    """
    scale = side / IMAGE_SIDE
    centres = start + (torch.arange(IMAGE_SIDE, dtype=torch.float32, device=positions.device) + 0.5) * scale
    weights = _bicubic((positions + 0.5 - centres[:, None]) / scale.clamp(min=1))
    return weights / weights.sum(dim=1, keepdim=True)


def _bicubic(distance: Tensor) -> Tensor:
    """Return the cubic convolution kernel with a = -1/2 (Keys, 1981), which Pillow uses."""
    x, a = distance.abs(), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _rounded(pixels: Tensor) -> Tensor:
    return (pixels + 0.5).floor().clamp(0, 255)
