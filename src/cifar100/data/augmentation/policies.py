"""AutoAugment, RandAugment and TrivialAugment: which operations change an image, and how much.

AutoAugment: Cubuk et al., CVPR 2019, arXiv:1805.09501; the policy found on CIFAR-10, which its authors use for
CIFAR-100, too. RandAugment: Cubuk et al., 2020, arXiv:1909.13719. TrivialAugment (Wide): Müller and Hutter, ICCV 2021,
arXiv:2103.10158. The papers leave the meaning of a magnitude partly open; here it is that of torchvision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cifar100.config import AugmentationConfig

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "invert",
)
"""RandAugment and TrivialAugment choose among all but `invert`, as their papers do."""

NUM_CHOICES = len(OPERATIONS) - 1

IMAGE_SIDE = 32


@dataclass(frozen=True, kw_only=True)
class PolicyDraws:
    """The operations on each of N images, several rounds of one each; on the CPU."""

    operations: Tensor
    """int64 (rounds, N): positions in `OPERATIONS`."""

    values: Tensor
    """float32 (rounds, N): what the operation wants. Shear: pixels aside for each pixel down or across. Translation:
    pixels to the left or up. Rotation: degrees, counter-clockwise. Brightness, color, contrast, sharpness: 0 takes it
    all away, 1 changes nothing. Posterize: bits kept. Solarize: the level from which to invert. The others: unused."""


class Ranges(NamedTuple):
    """The strongest value of each kind of operation, reached at strength 1."""

    shear: float
    pixels: float
    degrees: float
    enhancement: float
    bits: int


MODERATE = Ranges(shear=0.3, pixels=150 / 331 * IMAGE_SIDE, degrees=30, enhancement=0.9, bits=4)
"""AutoAugment and RandAugment. The papers' 150 pixels are of 331."""

WIDE = Ranges(shear=0.99, pixels=32, degrees=135, enhancement=0.99, bits=6)
"""TrivialAugment (Wide)."""

# Twice (operation, probability, magnitude 0 to 9): table 7 of the AutoAugment paper.
AUTO_AUGMENT = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
)


def draw_policy(augmentation: AugmentationConfig, uniform: Callable[[], Tensor]) -> PolicyDraws | None:
    """Draw for a batch, or return None where no policy is wanted.

    uniform: gives new numbers, float32 (N,) in 0..1, at each call.
    """
    if augmentation.policy == "none":
        return None
    if augmentation.policy == "auto_augment":
        rounds, ranges = _draw_auto_augment(uniform), MODERATE
    elif augmentation.policy == "rand_augment":
        strength = augmentation.rand_augment_magnitude / 30
        drawn = [_choose(uniform(), NUM_CHOICES) for _ in range(augmentation.rand_augment_operations)]
        rounds, ranges = [(chosen, torch.full(chosen.shape, strength)) for chosen in drawn], MODERATE
    else:
        rounds, ranges = [(_choose(uniform(), NUM_CHOICES), _choose(uniform(), 31) / 30)], WIDE
    values = [operation_values(chosen, strength, uniform() < 0.5, ranges) for chosen, strength in rounds]
    return PolicyDraws(operations=torch.stack([chosen for chosen, _ in rounds]), values=torch.stack(values))


def operation_values(operations: Tensor, strength: Tensor, negative: Tensor, ranges: Ranges) -> Tensor:
    """Return what each operation wants at a strength of 0 to 1, float32 (N,); see `PolicyDraws.values`.

    operations: int64 (N,). strength: float (N,). negative: bool (N,): which way, where there are two.
    """
    largest = dict.fromkeys(OPERATIONS, 0.0)
    largest |= {"shear_x": ranges.shear, "shear_y": ranges.shear, "rotate": ranges.degrees}
    largest |= dict.fromkeys(("brightness", "color", "contrast", "sharpness"), ranges.enhancement)
    largest |= {"translate_x": ranges.pixels, "translate_y": ranges.pixels}
    amount = strength * torch.tensor(list(largest.values()))[operations]
    amount = torch.where(_among(operations, "translate_x", "translate_y"), amount.trunc(), amount)
    value = torch.where(negative, -amount, amount)
    value = torch.where(_among(operations, "brightness", "color", "contrast", "sharpness"), 1 + value, value)
    value = torch.where(_among(operations, "posterize"), 8 - torch.round(strength * ranges.bits), value)
    return torch.where(_among(operations, "solarize"), 255 * (1 - strength), value)


def _draw_auto_augment(uniform: Callable[[], Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Choose one of the pairs for each image, and whether each of its operations is done."""
    pair = _choose(uniform(), len(AUTO_AUGMENT))
    rounds = []
    for place in range(2):
        names, probabilities, magnitudes = zip(*(both[place] for both in AUTO_AUGMENT), strict=True)
        operations = torch.tensor([OPERATIONS.index(name) for name in names])[pair]
        done = uniform() < torch.tensor(probabilities)[pair]
        rounds.append((torch.where(done, operations, 0), torch.tensor(magnitudes)[pair] / 9))
    return rounds


def _choose(uniform: Tensor, count: int) -> Tensor:
    """Return int64 (N,), 0 .. count - 1, from numbers in 0..1, which float32 may round up to 1."""
    return (uniform * count).long().clamp_(max=count - 1)


def _among(operations: Tensor, *names: str) -> Tensor:
    return torch.isin(operations, torch.tensor([OPERATIONS.index(name) for name in names]))
