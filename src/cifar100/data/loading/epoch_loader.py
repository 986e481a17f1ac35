"""The base of our loaders: one that can resume mid-epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from cifar100.data.sampler import EpochSampler

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (N, 3, side, side), and labels int64 (N,) or label probabilities float32 (N, num_classes)."""


class EpochLoader(ABC):
    """A loader that can resume mid-epoch; Lightning saves and restores its position.

    Outside Lightning, call `loader.sampler.set_epoch(epoch)` before each pass.
    """

    batch_sampler = None  # Lightning reads it from every loader that has a `sampler`

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler
        self._position = (0, 0)
        self._resume_at = (0, 0)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # This must be a generator, which runs nothing before its first batch is requested: Lightning makes the iterator
        # of the first and of a resumed epoch before it sets the epoch.
        epoch = self.sampler.epoch
        self.sampler.first_step = self._take_resume_step(epoch)
        for step, batch in enumerate(self._batches(), start=self.sampler.first_step):
            self._position = (epoch, step + 1)
            yield batch

    @abstractmethod
    def _batches(self) -> Iterator[Batch]:
        """Yield the batches of the sampler's epoch starting at its `first_step`."""

    def _take_resume_step(self, epoch: int) -> int:
        resume_epoch, resume_step = self._resume_at
        self._resume_at = (0, 0)
        return resume_step if resume_epoch == epoch and resume_step < len(self) else 0

    def close(self) -> None:  # noqa: B027  # most loaders hold nothing
        """Stop worker processes; a later pass starts new ones."""

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of its batches that were yielded."""
        return {"epoch": self._position[0], "step": self._position[1]}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Resume after that batch if the next pass is over the same epoch; another epoch starts at its beginning."""
        self._resume_at = (state_dict["epoch"], state_dict["step"])
