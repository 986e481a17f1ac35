"""The order of the images in an epoch, and the part of each rank."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cifar100.errors import UserError

Key = tuple[int, int]
"""(epoch, index). The epoch comes with each index, because worker processes outlive an epoch."""


class EpochSampler:
    """Chooses the images in each batch of an epoch for one rank; a function of (seed, epoch) alone.

    Training: the ranks take turns in a permutation of the images. Step k of all ranks together thus holds the images of
    step k of one process with their joint batch size. Every rank makes the same number of whole batches. The few
    images that do not fill a batch are left out, different ones in each epoch. A part smaller than a batch is one
    batch.

    Evaluation: every image exactly once, in the given order. Batches hold at most `batch_size` images, and their sizes
    differ by at most one. All ranks make the same number of batches, none of them empty, as their collectives require;
    a `batch_size` of 1 may be exceeded for that.

    Args:
        indices: int64 (N,), the images of the split, as positions in the data set.
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
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(indices) < world_size:
            raise UserError(
                f"{len(indices)} images cannot be divided among {world_size} processes; use fewer --training.devices."
            )
        self.indices = indices
        self.batch_size = batch_size
        self.training = training
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
        order = place_generator(self.seed, self.epoch).permutation(self.indices)
        part = order[self.rank :: self.world_size][: len(order) // self.world_size]
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        return [part[start : start + self.batch_size] for start in starts]

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches()[self.first_step :]:
            yield [(self.epoch, index) for index in batch.tolist()]


def place_generator(seed: int, *place: int) -> np.random.Generator:
    """Return the generator of a place in training: (epoch) or (epoch, image).

    numpy's SeedSequence hashes seed and place, so that neighbouring ones are independent. PCG64 is the same on every
    platform.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place)))
