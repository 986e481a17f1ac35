"""AutoAugment, RandAugment and TrivialAugment: combinations of the operations in `policy_operations`.

AutoAugment: Cubuk et al., CVPR 2019, arXiv:1805.09501; the policy found on CIFAR-10, which its authors also use for
CIFAR-100. RandAugment: Cubuk et al., 2020, arXiv:1909.13719. TrivialAugment (Wide): Müller and Hutter, ICCV 2021,
arXiv:2103.10158. The papers leave the meaning of a magnitude partly open; here it is that of torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from cifar100.config.types import Needs, Range
from cifar100.data.augmentation.base import Augmentation, ImageRandom
from cifar100.data.augmentation.policy_operations import OPERATIONS, apply_operations
from cifar100.data.dataset_info import IMAGE_SIDE

NUM_CHOICES = OPERATIONS.index("invert")
"""RandAugment and TrivialAugment choose among all operations but `invert`, as their papers do."""


class Ranges(NamedTuple):
    """The strongest value of each kind of operation, reached at strength 1."""

    shear: float
    pixels: float
    """Of a 32x32 image."""
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


@dataclass(frozen=True, kw_only=True)
class PolicyParameters:
    """The operations on each of N images, several rounds of one each; on the CPU."""

    operations: Tensor
    """int64 (rounds, N): positions in `OPERATIONS`."""

    values: Tensor
    """float32 (rounds, N): what the operation takes; see `policy_operations`."""


@dataclass(frozen=True, kw_only=True)
class Policy(Augmentation):
    """Apply random operations such as shear, posterize and equalize, one after the other."""

    order = 40  # between flip and cutout, as in the papers

    policy: Annotated[
        Literal["none", "auto_augment", "rand_augment", "trivial_augment"], Needs("data.pipeline", "packed")
    ] = "none"
    """Learned or random combinations of 14 operations such as shear, posterize and equalize (`packed` pipeline only):
    AutoAugment's for CIFAR, RandAugment or TrivialAugment (Wide)."""

    rand_augment_operations: Annotated[int, Range(1, 14), Needs("augmentation.policy", "rand_augment")] = 2
    """RandAugment: operations on each image, one after the other."""

    rand_augment_magnitude: Annotated[int, Range(0, 30), Needs("augmentation.policy", "rand_augment")] = 14
    """RandAugment: strength of all operations, 0 to 30."""

    @property
    def enabled(self) -> bool:
        """Whether the settings switch it on."""
        return self.policy != "none"

    def draw(self, random: ImageRandom) -> PolicyParameters:
        """Draw the operations of each round, and their values."""
        if self.policy == "auto_augment":
            rounds, ranges = _draw_auto_augment(random), MODERATE
        elif self.policy == "rand_augment":
            strength = self.rand_augment_magnitude / 30
            chosen = [_choose(random.uniform(), NUM_CHOICES) for _ in range(self.rand_augment_operations)]
            rounds, ranges = [(operations, torch.full(operations.shape, strength)) for operations in chosen], MODERATE
        else:
            rounds, ranges = [(_choose(random.uniform(), NUM_CHOICES), _choose(random.uniform(), 31) / 30)], WIDE
        ranges = ranges._replace(pixels=ranges.pixels * random.side / IMAGE_SIDE)
        values = [operation_values(chosen, strength, random.uniform() < 0.5, ranges) for chosen, strength in rounds]
        return PolicyParameters(operations=torch.stack([chosen for chosen, _ in rounds]), values=torch.stack(values))

    def apply(self, images: Tensor, parameters: PolicyParameters) -> Tensor:
        """Apply the operations, round by round."""
        for operations, values in zip(parameters.operations, parameters.values, strict=True):
            images = apply_operations(images, operations, values)
        return images


def operation_values(operations: Tensor, strength: Tensor, negative: Tensor, ranges: Ranges) -> Tensor:
    """Return the value of each operation at a strength of 0 to 1, float32 (N,); see `policy_operations`.

    operations: int64 (N,). strength: float (N,). negative: bool (N,): the direction, if there are two.
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


def _draw_auto_augment(random: ImageRandom) -> list[tuple[Tensor, Tensor]]:
    """Choose one of the pairs for each image, and whether each of its operations is applied."""
    pair = _choose(random.uniform(), len(AUTO_AUGMENT))
    rounds = []
    for place in range(2):
        names, probabilities, magnitudes = zip(*(both[place] for both in AUTO_AUGMENT), strict=True)
        operations = torch.tensor([OPERATIONS.index(name) for name in names])[pair]
        done = random.uniform() < torch.tensor(probabilities)[pair]
        rounds.append((torch.where(done, operations, 0), torch.tensor(magnitudes)[pair] / 9))
    return rounds


def _choose(uniform: Tensor, count: int) -> Tensor:
    """Return int64 (N,), 0 .. count - 1, from numbers in 0..1, which float32 may round up to 1."""
    return (uniform * count).long().clamp_(max=count - 1)


def _among(operations: Tensor, *names: str) -> Tensor:
    return torch.isin(operations, torch.tensor([OPERATIONS.index(name) for name in names]))
