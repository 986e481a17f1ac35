"""In which order the images of an epoch are seen, by which process, and from which step on."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cifar100.errors import UserError

Key = tuple[int, int]
"""(epoch, index): the epoch travels with the index, so that it reaches worker processes that outlive an epoch."""


class EpochSampler:
    """Which images are in each batch of an epoch, for one process; a function of (seed, epoch) alone.

    indices: int64 (N,), the images of the split, as positions in all images.

    Training: a permutation of the images is dealt out to the processes one by one, so that step k of all processes
    together holds what step k of one process with their joint batch size would hold. Every process makes the same
    number of whole batches; the few images that do not fill one are left out, others in each epoch. A share smaller
    than a batch is one batch.

    Evaluation: every image exactly once, in the given order, in batches of `batch_size` at most whose sizes differ by
    one at most. All processes make the same number of batches, none of them empty, as their collectives require; a
    `batch_size` of 1 may have to be exceeded for that.
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
                f"{len(indices)} images cannot be shared among {world_size} processes; use fewer --training.devices."
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
        """Choose the epoch; Lightning calls this at the start of each."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.training:
            return max(1, len(self.indices) // self.world_size // self.batch_size)
        largest_share = math.ceil(len(self.indices) / self.world_size)
        return min(math.ceil(largest_share / self.batch_size), len(self.indices) // self.world_size)

    def batches(self) -> list[NDArray[np.int64]]:
        """Return the images in each batch of the epoch, as positions in all images."""
        if not self.training:
            return np.array_split(self.indices[self.rank :: self.world_size], len(self))
        order = place_generator(self.seed, self.epoch).permutation(self.indices)
        share = order[self.rank :: self.world_size][: len(order) // self.world_size]
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        return [share[start : start + self.batch_size] for start in starts]

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches()[self.first_step :]:
            yield [(self.epoch, index) for index in batch.tolist()]


def place_generator(seed: int, *place: int) -> np.random.Generator:
    """Return a generator of its own for a place in training: (epoch) or (epoch, image).

    Numpy's SeedSequence hashes all of it, so that neighbouring seeds and epochs share nothing; PCG64 is the same on
    every platform.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place)))
