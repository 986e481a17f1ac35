"""Mixup and CutMix: blend each image of a batch, and its label, with another of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.device_rows import to_device
from cifar100.data.augmentation.draws import batch_generator
from cifar100.data.augmentation.operations import inside_boxes
from cifar100.data.sampler import EpochSampler


@dataclass(frozen=True, kw_only=True)
class MixDraws:
    """With which other image each of a batch of N is blended, and how much of its own is left; on the CPU."""

    partners: Tensor
    """int64 (N,): positions in the batch."""

    weights: Tensor
    """float32 (N,): share of the image's own pixels and label, 0 to 1."""

    boxes: Tensor | None = None
    """CutMix only, int64 (N, 4): first row, first column, height and width of the part from the partner."""


def draw_mix(
    augmentation: AugmentationConfig, num_images: int, *, side: int, sampler: EpochSampler, step: int
) -> MixDraws | None:
    """Choose mixup, CutMix or, as None, neither for a batch of one process, and draw for it.

    A function of the sampler's seed, epoch and rank, and of the step, alone. side: of the images, in pixels.
    """
    if not (augmentation.mixup_probability or augmentation.cutmix_probability):
        return None
    generator = batch_generator(sampler.seed, sampler.epoch, step, sampler.rank)
    choice = torch.rand((), generator=generator).item()
    if choice < augmentation.mixup_probability:
        return draw_mixup(num_images, alpha=augmentation.mixup_alpha, generator=generator)
    if choice < augmentation.mixup_probability + augmentation.cutmix_probability:
        return draw_cutmix(num_images, alpha=augmentation.cutmix_alpha, side=side, generator=generator)
    return None


def draw_mixup(num_images: int, *, alpha: float, generator: torch.Generator) -> MixDraws:
    """Draw partners, and weights from Beta(alpha, alpha), one for each image."""
    partners = torch.randperm(num_images, generator=generator)
    return MixDraws(partners=partners, weights=_draw_beta(num_images, alpha, generator))


def draw_cutmix(num_images: int, *, alpha: float, side: int, generator: torch.Generator) -> MixDraws:
    """Draw partners and boxes of area 1 - Beta(alpha, alpha) around uniform centres, cut off at the border.

    The weights are those of the boxes that remain. side: of the square images, in pixels.
    """
    partners = torch.randperm(num_images, generator=generator)
    length = torch.floor(side * torch.sqrt(1 - _draw_beta(num_images, alpha, generator))).long()
    centres = torch.randint(side, (num_images, 2), generator=generator)
    first = (centres - length[:, None] // 2).clamp(0, side)
    last = (centres - length[:, None] // 2 + length[:, None]).clamp(0, side)
    sizes = last - first
    weights = 1 - sizes.prod(dim=1) / side**2
    return MixDraws(partners=partners, weights=weights, boxes=torch.cat([first, sizes], dim=1))


def mix_images(images: Tensor, draws: MixDraws) -> Tensor:
    """Blend with the partners: CutMix where boxes were drawn (Yun et al., 2019), else mixup (Zhang et al., 2018).

    images: floating point (N, 3, H, W).
    """
    partners = images.index_select(0, to_device(draws.partners, images.device))
    if draws.boxes is not None:
        return torch.where(inside_boxes(images, draws.boxes), partners, images)
    weights = to_device(draws.weights, images.device).to(images.dtype).view(-1, 1, 1, 1)
    return torch.lerp(partners, images, weights)


def mix_labels(labels: Tensor, draws: MixDraws, *, num_classes: int) -> Tensor:
    """Return label probabilities float32 (N, num_classes), each image's own and its partner's by their weights.

    labels: int64 (N,).
    """
    own = F.one_hot(labels, num_classes).float()
    weights = to_device(draws.weights, labels.device)[:, None]
    return torch.lerp(own.index_select(0, to_device(draws.partners, labels.device)), own, weights)


def _draw_beta(num_images: int, alpha: float, generator: torch.Generator) -> Tensor:
    # torch.distributions takes no generator; numpy goes on from a number that ours gives.
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    drawn = np.random.Generator(np.random.PCG64(seed)).beta(alpha, alpha, num_images)
    return torch.from_numpy(drawn).float()
