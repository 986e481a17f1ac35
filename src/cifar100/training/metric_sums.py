"""Mean metrics of an epoch, as one vector of sums on the device of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor


class MetricSums:
    """Sums the metrics and counts the images. An update does not wait for the device.

    `ImageClassifier` saves the sums of all processes together.

    Args:
        names: the names of the metrics.
    """

    sums: Tensor
    """float32 (number of metrics + 1,): the sum of each metric, then the number of images."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.sums = torch.zeros(len(names) + 1)  # no buffer: DDP would overwrite it with that of rank 0

    def update(self, values: Mapping[str, Tensor], num_images: int) -> None:
        """Add a batch. values: name -> mean over the images, a scalar."""
        batch = torch.stack([values[name].detach().float() * num_images for name in self.names])
        self.sums = self.sums.to(batch.device)
        self.sums[:-1] += batch
        self.sums[-1] += num_images

    def means(self) -> dict[str, float]:
        """Return the means over the images of this process; empty without images. Waits for the device."""
        *totals, count = self.sums.tolist()
        return {name: total / count for name, total in zip(self.names, totals, strict=True)} if count else {}

    def reduced(self, strategy: Strategy) -> Tensor:
        """Return the sums over all processes, on the CPU. A collective operation."""
        total = strategy.reduce(self.sums.to(strategy.root_device, copy=True), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total.cpu()

    def reset(self) -> None:
        """Reset the sums to 0."""
        self.sums.zero_()
