"""The two kinds of augmentation, and the random numbers they get.

An augmentation is one file of this package with one frozen dataclass: its fields are settings, `draw` makes the random
parameters of a batch, `apply` uses them. Each class has a random stream of its own, so that switching one on does not
change the parameters of another. Nothing has to be listed anywhere: `cifar100.config.declarations` finds the classes.

Defaults and annotations of the fields must be literal expressions of names from `cifar100.config.types`, since they
are read without importing the file. The docstring under a field is its help text.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cifar100.data.dataset_info import IMAGE_SIDE
from cifar100.data.image_batches import to_device
from cifar100.data.sampler import EpochSampler


class ImageRandom(Protocol):
    """Random numbers for some images, as many for each."""

    images: NDArray[np.int64]
    """int64 (N,): the images, as positions in the data set."""

    side: int
    """Side of the images in pixels."""

    seed: int
    epoch: int

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw a number for each image, float32 (N,)."""

    def integers(self, end: int) -> Tensor:
        """Draw a pair of 0 .. end - 1 for each image, int64 (N, 2)."""


class BatchRandom:
    """Random numbers for a batch; a function of the sampler's seed and epoch, the step and a name.

    They are drawn for the joint batch of all ranks, of which each rank takes its part. N ranks thus see the images that
    one process with N times the batch size sees. Everything is drawn on the CPU, so that all devices see the same.

    Args:
        name: the stream's name, which is the class name of an augmentation.
        images: int64 (N,): this rank's batch, as positions in the data set.
        sampler: the sampler that chose the batch.
        step: the batch's number in the epoch.
        side: side in pixels of the images.
    """

    def __init__(
        self, name: str, images: NDArray[np.int64], *, sampler: EpochSampler, step: int, side: int = IMAGE_SIDE
    ) -> None:
        self.images = images
        self.side = side
        self.seed = sampler.seed
        self.epoch = sampler.epoch
        # torch's CPU generator (Mersenne Twister) takes 32 bits of a seed; SeedSequence hashes the whole place to them.
        place = np.random.SeedSequence(self.seed, spawn_key=(self.epoch, step, zlib.crc32(name.encode())))
        self.generator = torch.Generator().manual_seed(int(place.generate_state(1)[0]))
        self._joint = len(images) * sampler.world_size
        self._part = slice(sampler.rank, None, sampler.world_size)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw a number for each image, float32 (N,)."""
        return torch.rand(self._joint, generator=self.generator)[self._part] * (high - low) + low

    def integers(self, end: int) -> Tensor:
        """Draw a pair of 0 .. end - 1 for each image, int64 (N, 2)."""
        return torch.randint(end, (self._joint, 2), generator=self.generator)[self._part]

    def beta(self, alpha: float) -> Tensor:
        """Draw from Beta(alpha, alpha) for each image, float32 (N,)."""
        # torch.distributions takes no generator, so numpy continues from a number of ours.
        seed = int(torch.randint(2**63 - 1, (), generator=self.generator))
        values = np.random.Generator(np.random.PCG64(seed)).beta(alpha, alpha, self._joint)
        return torch.from_numpy(values).float()[self._part]

    def permutation(self) -> Tensor:
        """Permute the images of this rank's part, int64 (N,). Only this one depends on the number of ranks."""
        return self.uniform().argsort(stable=True)

    def number(self) -> float:
        """Draw one number in 0..1 for the whole batch, the same on every rank."""
        return torch.rand((), generator=self.generator).item()


class JointRandom:
    """Random numbers for the images of several batches: each batch has its own, as if it were alone."""

    def __init__(self, batches: Sequence[BatchRandom]) -> None:
        self.images = np.concatenate([batch.images for batch in batches])
        self.side, self.seed, self.epoch = batches[0].side, batches[0].seed, batches[0].epoch
        self._batches = batches

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw a number for each image, float32 (N,)."""
        return torch.cat([batch.uniform(low, high) for batch in self._batches])

    def integers(self, end: int) -> Tensor:
        """Draw a pair of 0 .. end - 1 for each image, int64 (N, 2)."""
        return torch.cat([batch.integers(end) for batch in self._batches])


class Augmentation(ABC):
    """A random change to training images; subclasses are frozen, keyword-only dataclasses of their settings."""

    order: ClassVar[int]
    """Position among the augmentations of a batch, ascending."""

    needs_a_batch: ClassVar[bool] = False
    """Whether the images of a batch share random numbers. Otherwise the images of several batches can be changed at
    once, and `draw` uses only the random numbers of an `ImageRandom`."""

    @property
    @abstractmethod
    def enabled(self) -> bool:
        """Whether the settings switch it on."""

    @property
    def applies_to_mixed(self) -> bool:
        """Whether it changes batches that a `Mixing` is about to blend."""
        return True

    @abstractmethod
    def draw(self, random: Any) -> Any:
        """Draw the random parameters of the images, on the CPU.

        random: a `BatchRandom` if the augmentation needs a batch, else any `ImageRandom`.
        """

    @abstractmethod
    def apply(self, images: Tensor, parameters: Any) -> Tensor:
        """Return the changed images, uint8 (N, 3, H, W), on the device of `images`; the argument stays as it is."""

    def transforms(self, *, side: int) -> list[Any]:
        """Return the Albumentations transforms that do the same to one image (side, side, 3).

        Raises:
            NotImplementedError: the augmentation is for whole batches only.
        """
        raise NotImplementedError(f"{type(self).__name__} changes whole batches only: use --data.pipeline packed")


class Mixing(ABC):
    """A blend of each image of a batch, and its label, with another image of the same batch.

    At most one is chosen for a batch, the same one on every rank, as are the weights. Partners are images of the same
    rank, because a rank does not hold the augmented images of another.
    """

    order: ClassVar[int]
    """Position in the choice of one mixing, ascending."""

    @property
    @abstractmethod
    def probability(self) -> float:
        """Probability that it is chosen for a batch."""

    @property
    def enabled(self) -> bool:
        """Whether the settings switch it on."""
        return self.probability > 0

    @abstractmethod
    def draw(self, random: BatchRandom) -> Any:
        """Draw the random parameters of a batch, on the CPU."""

    @abstractmethod
    def apply(self, images: Tensor, labels: Tensor, parameters: Any, *, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return blended images and label probabilities, float32 (N, num_classes).

        images: floating point (N, 3, H, W). labels: int64 (N,).
        """


def scaled_pixels(pixels: int, side: int) -> int:
    """Return what a number of pixels of a 32x32 image is in one of another side, rounded down."""
    return pixels * side // IMAGE_SIDE


def choose_mixing(mixings: Sequence[Mixing], random: Callable[[Mixing], BatchRandom]) -> tuple[Mixing, Any] | None:
    """Choose at most one for a batch, by their probabilities. Returns it and its random parameters.

    Each decides by a number of its own stream, after those before it in order. Switching another one on thus leaves it
    most of the batches that it had.
    """
    remaining = 1.0
    for mixing in mixings:
        numbers = random(mixing)
        if numbers.number() * remaining < mixing.probability:
            return mixing, mixing.draw(numbers)
        remaining -= mixing.probability
    return None


def mix_labels(labels: Tensor, partners: Tensor, weights: Tensor, *, num_classes: int) -> Tensor:
    """Return label probabilities float32 (N, num_classes), each image's own by its weight, the rest its partner's.

    labels: int64 (N,). partners: int64 (N,), positions in the batch. weights: float32 (N,).
    """
    own = F.one_hot(labels, num_classes).float()
    return torch.lerp(own.index_select(0, partners), own, to_device(weights, labels.device)[:, None])
