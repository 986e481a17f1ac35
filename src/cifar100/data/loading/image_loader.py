"""Batches of a `CsvImageDataset`, read by worker processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from cifar100.data.loading.epoch_loader import Batch, EpochLoader
from cifar100.data.sampler import EpochSampler, Key
from cifar100.errors import UserError
from cifar100.process.parent import when_the_parent_ends

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from cifar100.data.loading.dataset import CsvImageDataset

MAX_WORKERS = 8


class ImageLoader(EpochLoader):
    """Yields images uint8 (N, 3, 32, 32) and labels int64 (N,), in the sampler's order, whatever `num_workers` is.

    Wraps torch's DataLoader for three reasons: it can start at any step, Lightning does not replace the sampler, and a
    UserError in a worker arrives as one line.
    """

    def __init__(
        self, dataset: CsvImageDataset, sampler: EpochSampler, *, num_workers: int = 0, pin_memory: bool = False
    ) -> None:
        super().__init__(sampler)
        self._loader: DataLoader[Batch | UserError] = DataLoader(
            _BatchDataset(dataset),
            batch_size=None,  # a key of `_BatchDataset` is a whole batch
            sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            multiprocessing_context=_context() if num_workers else None,
            worker_init_fn=_end_with_the_trainer,
            # Each epoch takes a number from this generator. The global one would change the network's random numbers.
            generator=torch.Generator(),
        )

    def _batches(self) -> Iterator[Batch]:
        for batch in self._loader:
            if isinstance(batch, UserError):
                self.close()
                raise batch
            images, labels = batch
            yield images, labels

    def close(self) -> None:
        """Stop the workers. In garbage collection torch can wait 5 s for each of them."""
        iterator, self._loader._iterator = self._loader._iterator, None
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]  # as Lightning does; there is no public way


class _BatchDataset(Dataset["Batch | UserError"]):
    """Batches of a dataset; runs in the workers.

    Returns a UserError instead of raising it, because torch would wrap it in the worker's traceback.
    """

    def __init__(self, dataset: CsvImageDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, keys: list[Key]) -> Batch | UserError:
        try:
            images, labels = zip(*(self.dataset[key] for key in keys), strict=True)
        except UserError as error:
            return error
        return torch.stack(images), torch.tensor(labels)


def resolve_num_workers(num_workers: int | str, *, num_processes: int = 1) -> int:
    """Return the number of worker processes; `auto` divides the processors among the training processes."""
    if num_workers != "auto":
        return int(num_workers)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(MAX_WORKERS, usable // num_processes))


def _context() -> BaseContext:
    """Return a start method that never forks a process with running threads, which can hang the workers.

    On Linux a server process imports everything once, and the workers are forks of it. Elsewhere each starts anew.
    """
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cifar100.data.loading.dataset", "cifar100.data.augmentation.single_image"])
    return context


def _end_with_the_trainer(worker: int) -> None:
    """End this worker when the training process has ended.

    torch watches the operating system's parent process, which is the server under `forkserver`.
    """
    when_the_parent_ends(lambda: os._exit(1))


def _as_it_is(batch: Any) -> Any:
    return batch
