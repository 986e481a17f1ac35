"""The network as it is exported: from images of any size to probabilities, in one graph.

The graph resizes as `read_image` does, with products of matrices: see `image_batches.fit`. Two kinds of images differ
from `read_image`: Pillow 13 passes over the rows first if an image is more than about twice as high as wide, and images
of more than four megapixels are first averaged. Both change the rounding only. A network that was trained on enlarged
CIFAR-100 images gets the same from the graph: scaled to 32 pixels, then enlarged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cifar100.data.image_batches import fit, normalize
from cifar100.runs.trained_network import TrainedNetwork


class DeployedNetwork(nn.Module):
    """Maps images, uint8 (N, 3, H, W) RGB of any size, to probabilities, float32 (N, num_classes)."""

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        self.network = trained.network
        self.temperature = trained.temperature
        self.stored_side = trained.info.image_size
        self.side = trained.config.data.side
        mean, std = trained.normalization
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.eval()

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 (N, 3, H, W). Returns the probabilities."""
        fitted = fit(images, self.stored_side)  # as `read_image`
        if self.side != self.stored_side:
            fitted = fit(fitted, self.side, rounded=False)
        logits: Tensor = self.network(normalize(fitted, self.mean, self.std))
        return (logits.float() / self.temperature).softmax(dim=1)
