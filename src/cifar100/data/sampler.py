"""In which order the images of an epoch are seen, by which process, and from which step on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cifar100.errors import UserError

Key = tuple[int, int]
"""(epoch, index): the epoch travels with the index, so that it reaches worker processes that outlive an epoch."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""images (N, 3, 32, 32), labels int64 (N,)."""


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


class EpochLoader(ABC):
    """A loader that can start in the middle of an epoch; Lightning saves and restores where it stands.

    Outside Lightning, call `loader.sampler.set_epoch(epoch)` before each pass.
    """

    batch_sampler = None  # Lightning asks every loader that has a `sampler` for it

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler
        self._position = (0, 0)
        self._resume_at = (0, 0)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # A generator decides nothing before its first batch is asked for. It has to be one: Lightning makes the
        # iterator of the first (and of a resumed) epoch before it sets the epoch.
        epoch = self.sampler.epoch
        self.sampler.first_step = self._take_resume_step(epoch)
        for step, batch in enumerate(self._batches(), start=self.sampler.first_step):
            self._position = (epoch, step + 1)
            yield batch

    @abstractmethod
    def _batches(self) -> Iterator[Batch]:
        """Yield the batches of the sampler's epoch from its `first_step` on."""

    def _take_resume_step(self, epoch: int) -> int:
        resume_epoch, resume_step = self._resume_at
        self._resume_at = (0, 0)
        return resume_step if resume_epoch == epoch and resume_step < len(self) else 0

    def close(self) -> None:  # noqa: B027  # most loaders hold nothing
        """Let go of worker processes; a later pass starts new ones."""

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of its batches that were handed out."""
        return {"epoch": self._position[0], "step": self._position[1]}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on after that batch, if the next pass is over the same epoch; another epoch starts at its beginning."""
        self._resume_at = (state_dict["epoch"], state_dict["step"])
