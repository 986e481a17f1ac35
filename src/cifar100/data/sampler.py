"""The order of the images in an epoch, and the part of each rank."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cifar100.errors import UserError

Key = tuple[int, int] | tuple[int, int, int]
"""(epoch, index); or (epoch, index, place) if an epoch can hold an image several times, at different places. The epoch
comes with each index, because worker processes outlive an epoch."""


class EpochSampler:
    """Chooses the images in each batch of an epoch for one rank; a function of (seed, epoch) alone.

    Training: the ranks take turns in a permutation of the images. Step k of all ranks together thus holds the images of
    step k of one process with their joint batch size. Every rank makes the same number of whole batches. The few
    images that do not fill a batch are left out, different ones in each epoch. A part smaller than a batch is one
    batch.

    With `labels` the classes are balanced: of the N draws of an epoch each of K classes gets N / K, rounded down or up.
    A class goes through permutations of its images, one after the other, from epoch to epoch. Over a run the images of
    a class are thus drawn equally often, with a difference of at most one.

    Evaluation: every image exactly once, in the given order. Batches hold at most `batch_size` images, and their sizes
    differ by at most one. All ranks make the same number of batches, none of them empty, as their collectives require;
    a `batch_size` of 1 may be exceeded for that.

    Args:
        indices: int64 (N,), the images of the split, as positions in the data set.
        labels: int64 (N,), the classes of these images, to draw each class equally often in training; None draws each
            image once.
        batch_size: images in a batch of one rank.
        training: whether to shuffle.
        seed: seed of the order.
        rank: number of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        indices: NDArray[np.int64],
        *,
        batch_size: int,
        training: bool,
        labels: NDArray[np.int64] | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(indices) < world_size:
            raise UserError(
                f"{len(indices):,} images cannot be divided among {world_size} processes; use fewer --training.devices."
            )
        self.indices = indices
        self.batch_size = batch_size
        self.training = training
        classes = [] if labels is None else np.unique(labels).tolist()
        self._classes = [indices[labels == label] for label in classes]
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_step = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this at the start of each."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.training:
            return max(1, len(self.indices) // self.world_size // self.batch_size)
        largest_part = math.ceil(len(self.indices) / self.world_size)
        return min(math.ceil(largest_part / self.batch_size), len(self.indices) // self.world_size)

    def batches(self) -> list[NDArray[np.int64]]:
        """Return the images in each batch of the epoch, as positions in the data set."""
        if not self.training:
            return np.array_split(self.indices[self.rank :: self.world_size], len(self))
        drawn = self._balanced() if self._classes else self.indices
        return self._divided(place_generator(self.seed, self.epoch).permutation(drawn))

    def __iter__(self) -> Iterator[list[Key]]:
        batches = self.batches()[self.first_step :]
        if not self._classes:
            for batch in batches:
                yield [(self.epoch, index) for index in batch.tolist()]
            return
        places = self._divided(np.arange(len(self.indices)))[self.first_step :]
        for batch, its_places in zip(batches, places, strict=True):
            pairs = zip(batch.tolist(), its_places.tolist(), strict=True)
            yield [(self.epoch, index, place) for index, place in pairs]

    def _divided(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return this rank's training batches of what all ranks go through in this order."""
        part = order[self.rank :: self.world_size][: len(order) // self.world_size]
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        return [part[start : start + self.batch_size] for start in starts]

    def _balanced(self) -> NDArray[np.int64]:
        """Return the images of an epoch, class by class.

        The first draw of class c in epoch e is number (e N + c) // K of its draws in the run. These numbers grow by
        N / K, rounded, in each epoch, and the draws of all classes add up to N (Hermite's identity).
        """
        number, total = len(self._classes), len(self.indices)
        drawn = []
        for place, images in enumerate(self._classes):
            first, last = ((epoch * total + place) // number for epoch in (self.epoch, self.epoch + 1))
            rounds = range(first // len(images), -(-last // len(images)))
            permuted = [place_generator(self.seed, _BALANCED, place, turn).permutation(images) for turn in rounds]
            skipped = first - first // len(images) * len(images)
            drawn.append(np.concatenate([images[:0], *permuted])[skipped : skipped + last - first])
        return np.concatenate(drawn)


_BALANCED = 0xBA1A
"""Begins the place of the generators of balanced classes, which differs from those of epochs and images."""


def place_generator(seed: int, *place: int) -> np.random.Generator:
    """Return the generator of a place in training: (epoch) or (epoch, image).

    numpy's SeedSequence hashes seed and place, so that neighbouring ones are independent. PCG64 is the same on every
    platform.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place)))
