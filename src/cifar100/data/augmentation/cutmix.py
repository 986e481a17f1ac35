"""CutMix: a box of each image comes from another one (Yun, Han, Oh, Chun, Choe and Yoo, 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from cifar100.config.types import BetaParameter, Needs, Probability
from cifar100.data.augmentation.base import BatchRandom, Mixing, mix_labels
from cifar100.data.image_batches import inside_boxes, to_device


@dataclass(frozen=True, kw_only=True)
class CutMixParameters:
    """Which part of each of N images comes from which other; independent of the resolution."""

    partners: Tensor
    """int64 (N,): positions in the batch."""

    areas: Tensor
    """float32 (N,): area of the box before it is cut off at the border, as a fraction of the image."""

    centres: Tensor
    """float32 (N, 2): row and column of the box's centre, as fractions of the side."""

    def boxes(self, side: int) -> Tensor:
        """Return int64 (N, 4): first row, first column, height and width in images of this side."""
        length = torch.floor(side * torch.sqrt(self.areas)).long()[:, None]
        first = (self.centres * side).long() - length // 2
        last = (first + length).clamp(max=side)
        first = first.clamp(min=0)
        return torch.cat([first, last - first], dim=1)


@dataclass(frozen=True, kw_only=True)
class CutMix(Mixing):
    """Paste a box of another image into each image of a batch; blend the labels by area."""

    order = 20

    cutmix_probability: Annotated[Probability, Needs("data.pipeline", "packed")] = 0.0
    """Probability that a box of each image of a batch comes from another one (`packed` pipeline only). A batch gets
    mixup or CutMix, so their probabilities sum to at most 1."""

    cutmix_alpha: Annotated[BetaParameter, Needs("augmentation.cutmix_probability")] = 1.0
    """CutMix: the fraction of an image that remains is drawn from Beta(alpha, alpha)."""

    @property
    def probability(self) -> float:
        """Probability that it is chosen for a batch."""
        return self.cutmix_probability

    def draw(self, random: BatchRandom) -> CutMixParameters:
        """Draw a partner and a box for each image, with a uniform centre."""
        return CutMixParameters(
            partners=random.permutation(),
            areas=1 - random.beta(self.cutmix_alpha),
            centres=torch.stack([random.uniform(), random.uniform()], dim=1),
        )

    def apply(
        self, images: Tensor, labels: Tensor, parameters: CutMixParameters, *, num_classes: int
    ) -> tuple[Tensor, Tensor]:
        """Paste the boxes. The labels' weights are those of the boxes that remain inside the image."""
        side = images.shape[3]
        boxes = parameters.boxes(side)
        weights = 1 - boxes[:, 2:].prod(dim=1) / side**2
        partners = to_device(parameters.partners, images.device)
        mixed = torch.where(inside_boxes(images, boxes), images.index_select(0, partners), images)
        return mixed, mix_labels(labels, partners, weights, num_classes=num_classes)
