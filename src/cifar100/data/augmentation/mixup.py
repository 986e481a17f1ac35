"""Mixup: the weighted mean of two images and of their labels (Zhang, Cisse, Dauphin and Lopez-Paz, 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from cifar100.config.types import BetaParameter, Needs, Probability
from cifar100.data.augmentation.base import BatchRandom, Mixing, mix_labels
from cifar100.data.image_batches import to_device


@dataclass(frozen=True, kw_only=True)
class MixupParameters:
    """With which image each of N is blended, and how much of its own remains."""

    partners: Tensor
    """int64 (N,): positions in the batch."""

    weights: Tensor
    """float32 (N,): fraction of the image's own pixels and label."""


@dataclass(frozen=True, kw_only=True)
class Mixup(Mixing):
    """Blend each image of a batch, and its label, with another."""

    order = 10

    mixup_probability: Annotated[Probability, Needs("data.pipeline", "packed")] = 0.0
    """Probability that the images of a batch, and their labels, are blended in pairs (`packed` pipeline only)."""

    mixup_alpha: Annotated[BetaParameter, Needs("augmentation.mixup_probability")] = 0.2
    """Mixup: the fraction of an image that remains is drawn from Beta(alpha, alpha)."""

    @property
    def probability(self) -> float:
        """Probability that it is chosen for a batch."""
        return self.mixup_probability

    def draw(self, random: BatchRandom) -> MixupParameters:
        """Draw a partner and a weight for each image."""
        return MixupParameters(partners=random.permutation(), weights=random.beta(self.mixup_alpha))

    def apply(
        self, images: Tensor, labels: Tensor, parameters: MixupParameters, *, num_classes: int
    ) -> tuple[Tensor, Tensor]:
        """Blend whole images."""
        partners = to_device(parameters.partners, images.device)
        weights = to_device(parameters.weights, images.device).to(images.dtype).view(-1, 1, 1, 1)
        mixed = torch.lerp(images.index_select(0, partners), images, weights)
        return mixed, mix_labels(labels, partners, parameters.weights, num_classes=num_classes)
