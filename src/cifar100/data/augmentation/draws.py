"""What chance decides about the images of a batch, drawn in one place and in one order.

Everything is drawn on the CPU, so that a run sees the same images on every device; it is a few numbers for each image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.policies import PolicyDraws, draw_policy
from cifar100.data.sampler import EpochSampler

IMAGE_SIDE = 32


@dataclass(frozen=True, kw_only=True)
class AffineDraws:
    """The images of a batch that are shifted, scaled and rotated, and by how much; n of N."""

    images: Tensor
    """int64 (n,): their positions in the batch."""

    shift_pixels: Tensor
    """float32 (n, 2): to the right, and down."""

    scale: Tensor
    """float32 (n,): above 1 enlarges."""

    rotate_degrees: Tensor
    """float32 (n,): counter-clockwise."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """All draws for a batch of N images; None where an augmentation is off."""

    crop: Tensor | None = None
    """int64 (N, 2): first row and column of the cut in the padded image."""

    crop_padding: int = 0

    flip: Tensor | None = None
    """bool (N,)."""

    affine: AffineDraws | None = None

    hole: Tensor | None = None
    """int64 (N, 2): first row and column of the hole; outside the image where there is none."""

    hole_size: int = 0

    erased: Tensor | None = None
    """int64 (N, 4): rectangle to erase: first row, first column, height, width; height 0 where there is none."""

    policy: PolicyDraws | None = None

    noise: Tensor | None = None
    """uint8 (3, 32, 32): what erased rectangles are filled with, one for the batch."""


def draw(augmentation: AugmentationConfig, batch: NDArray[np.int64], *, sampler: EpochSampler, step: int) -> Draws:
    """Draw for one batch of one process; a function of the sampler's seed and epoch, and of the step, alone.

    Drawn for the joint batch of all processes, of which each takes its share, so that N processes see the very images
    that one process with N times the batch size would see.

    batch: int64 (N,): the images in this process's batch, as positions in all images.
    """
    generator = batch_generator(sampler.seed, sampler.epoch, step)
    drawn = _Dealer(generator, len(batch), sampler.rank, sampler.world_size)
    crop = hole = affine = flip = erased = noise = None
    if augmentation.crop_padding:
        crop = drawn.integers(2 * augmentation.crop_padding + 1)
    if augmentation.flip == "random":
        flip = drawn.uniform() < 0.5
    elif augmentation.flip == "alternating":
        flip = alternating_flip(batch, seed=sampler.seed, epoch=sampler.epoch)
    if augmentation.shift or augmentation.scale or augmentation.rotate:
        affine = _draw_affine(augmentation, drawn)
    if augmentation.cutout:
        hole = drawn.integers(IMAGE_SIDE - augmentation.cutout + 1)
        hole[drawn.uniform() >= augmentation.cutout_probability] = IMAGE_SIDE
    if augmentation.random_erasing_probability:
        erased = _draw_erasing_boxes(augmentation.random_erasing_probability, drawn)
        noise = torch.randint(256, (3, IMAGE_SIDE, IMAGE_SIDE), generator=generator, dtype=torch.uint8)
    policy = draw_policy(augmentation, drawn.uniform)
    return Draws(
        crop=crop,
        crop_padding=augmentation.crop_padding,
        flip=flip,
        affine=affine,
        hole=hole,
        hole_size=augmentation.cutout,
        erased=erased,
        policy=policy,
        noise=noise,
    )


def batch_generator(seed: int, *place: int) -> torch.Generator:
    """Return a generator of its own for a place in training, such as (epoch, step).

    The place is hashed to 32 bits, all that torch's CPU generator (Mersenne Twister) takes from a seed.
    """
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed, spawn_key=place).generate_state(1)[0]))


def alternating_flip(images: NDArray[np.int64], *, seed: int, epoch: int) -> Tensor:
    """Choose the images to flip in an epoch: about half of them at random in epoch 0, the others in epoch 1, and so on.

    Every image is thus seen both ways in any two epochs in a row (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single
    GPU", 2024). The choice is a hash of (seed, image). Returns bool (N,).
    """
    side = _splitmix64(images.astype(np.uint64) + (np.uint64(seed) << np.uint64(32))) & np.uint64(1)
    return torch.from_numpy((side + np.uint64(epoch)) % np.uint64(2) == 1)


class _Dealer:
    """Draws for the joint batch of all processes and deals out the share of one."""

    def __init__(self, generator: torch.Generator, num_images: int, rank: int, world_size: int) -> None:
        self.generator = generator
        self.joint = num_images * world_size
        self.share = slice(rank, None, world_size)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 (N,)."""
        return torch.rand(self.joint, generator=self.generator)[self.share] * (high - low) + low

    def integers(self, end: int) -> Tensor:
        """int64 (N, 2), 0 .. end - 1."""
        return torch.randint(end, (self.joint, 2), generator=self.generator)[self.share]


def _draw_erasing_boxes(probability: float, drawn: _Dealer) -> Tensor:
    """Draw rectangles of 2 % to a third of the image, sides up to 1 to 3.3 (Zhong et al., 2020). int64 (N, 4)."""
    area = drawn.uniform(0.02, 1 / 3) * IMAGE_SIDE**2
    ratio = 3.3 ** drawn.uniform(-1, 1)  # log-uniform from 1 / 3.3 to 3.3
    height = torch.sqrt(area * ratio).round().clamp(1, IMAGE_SIDE)
    width = torch.sqrt(area / ratio).round().clamp(1, IMAGE_SIDE)
    top = torch.floor(drawn.uniform() * (IMAGE_SIDE - height + 1))
    left = torch.floor(drawn.uniform() * (IMAGE_SIDE - width + 1))
    height = torch.where(drawn.uniform() < probability, height, 0.0)
    return torch.stack([top, left, height, width], dim=1).long()


def _draw_affine(augmentation: AugmentationConfig, drawn: _Dealer) -> AffineDraws:
    pixels = augmentation.shift * IMAGE_SIDE
    chosen = drawn.uniform() < augmentation.affine_probability
    shift = torch.stack([drawn.uniform(-pixels, pixels), drawn.uniform(-pixels, pixels)], dim=1)
    scale = drawn.uniform(1 - augmentation.scale, 1 + augmentation.scale)
    rotate = drawn.uniform(-augmentation.rotate, augmentation.rotate)
    return AffineDraws(
        images=chosen.nonzero().squeeze(1),
        shift_pixels=shift[chosen],
        scale=scale[chosen],
        rotate_degrees=rotate[chosen],
    )


def _splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash each number (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
