"""Batches of an `ImageDataset`, read by worker processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from cifar100.data.loading.epoch_loader import Batch, EpochLoader
from cifar100.data.loading.shared_memory import BATCHES_PER_WORKER, affordable_workers
from cifar100.data.sampler import EpochSampler, Key
from cifar100.errors import UserError
from cifar100.process.parent import when_the_parent_ends
from cifar100.process.processors import usable_processors
from cifar100.process.stopping import kept_from_children
from cifar100.terminal import warn

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from cifar100.data.loading.dataset import ImageDataset

MAX_WORKERS = 8

MAX_DEATHS = 3
"""After this many deaths of workers, images are read without them. Each death can cost a few seconds."""


class ImageLoader(EpochLoader):
    """Yields images uint8 (N, 3, S, S) and labels int64 (N,), in the sampler's order, whatever `num_workers` is.

    Wraps torch's DataLoader for four reasons: it can start at any step, Lightning does not replace the sampler, a
    UserError in a worker arrives as one line, and a worker that is killed costs one line instead of the run.
    """

    def __init__(
        self, dataset: ImageDataset, sampler: EpochSampler, *, num_workers: int = 0, pin_memory: bool = False
    ) -> None:
        super().__init__(sampler)
        self._dataset = _BatchDataset(dataset)
        self._side = dataset.side
        self._pin_memory = pin_memory
        self._num_workers = num_workers
        self._num_deaths = 0
        self._loader: DataLoader[Batch | Exception] | None = None

    def _batches(self) -> Iterator[Batch]:
        step = self.sampler.first_step
        while True:
            self.sampler.first_step = step
            try:
                for batch in self._started():
                    if isinstance(batch, Exception):
                        self.close()
                        raise batch
                    step += 1
                    images, labels = batch
                    yield images, labels
                return
            except (RuntimeError, OSError, EOFError) as error:
                if not _is_of_the_workers(error):
                    raise
                self._replace_workers(error)

    def _started(self) -> DataLoader[Batch | Exception]:
        if self._loader is None:
            images = min(self.sampler.batch_size, len(self.sampler.indices))
            num_workers = affordable_workers(self._num_workers, batch_bytes=images * (3 * self._side**2 + 8))
            self._loader = self._make_loader(num_workers)
        return self._loader

    def _make_loader(self, num_workers: int) -> DataLoader[Batch | Exception]:
        return DataLoader(
            self._dataset,
            batch_size=None,  # a key of `_BatchDataset` is a whole batch
            sampler=self.sampler,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            prefetch_factor=BATCHES_PER_WORKER if num_workers else None,
            pin_memory=self._pin_memory,
            multiprocessing_context=_context() if num_workers else None,
            worker_init_fn=_end_with_the_trainer,
            # Each epoch takes a number from this generator. The global one would change the network's random numbers.
            generator=torch.Generator(),
        )

    def _replace_workers(self, error: Exception) -> None:
        """Stop the workers. New ones start at the present step, or none if that cannot work."""
        self._num_deaths += 1
        is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        found = "the shared memory of the workers is full" if is_full else "a worker process died"
        goes_on = "new workers read the images from here on"
        if is_full or self._num_deaths == MAX_DEATHS:
            self._num_workers = 0
            goes_on = "from here on the images are read without workers, which is slower"
        warn(f"{found}, perhaps because memory ran out; {goes_on}. No image is lost.")
        self.close()

    def close(self) -> None:
        """Stop the workers. In garbage collection torch can wait 5 s for each of them."""
        if self._loader is None:
            return
        iterator, self._loader._iterator = self._loader._iterator, None
        self._loader = None
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]  # as Lightning does; there is no public way


class _BatchDataset(Dataset["Batch | Exception"]):
    """Batches of a dataset; runs in the workers.

    Returns a UserError instead of raising it, because torch would wrap it in the worker's traceback. Moves a batch to
    shared memory itself: in torch's own thread a failure is only printed, and the trainer waits for ever.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, keys: list[Key]) -> Batch | Exception:
        try:
            images, labels = zip(*(self.dataset[key] for key in keys), strict=True)
        except UserError as error:
            return error
        batch = torch.stack(images), torch.tensor(labels)
        if get_worker_info() is None:
            return batch
        try:
            for tensor in batch:
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        except (RuntimeError, OSError) as error:  # torch's own kinds for this vary
            return OSError(errno.ENOSPC, f"no shared memory: {error}")
        return batch


def resolve_num_workers(num_workers: int | str, *, num_processes: int = 1) -> int:
    """Return the number of worker processes; `auto` divides the processors among the training processes."""
    if num_workers != "auto":
        return int(num_workers)
    return max(1, min(MAX_WORKERS, usable_processors() // num_processes))


_SIGNS_OF_A_DEAD_WORKER = ("DataLoader worker (pid", "Pin memory thread exited unexpectedly")
"""Beginnings of torch's messages. With a GPU, the thread that pins memory reads from the workers and ends with them."""


def _is_of_the_workers(error: Exception) -> bool:
    """Return whether a worker has died, its connection has broken, or the shared memory is full."""
    if isinstance(error, OSError):
        return isinstance(error, ConnectionError) or error.errno == errno.ENOSPC
    return isinstance(error, EOFError) or str(error).startswith(_SIGNS_OF_A_DEAD_WORKER)


def _context() -> BaseContext:
    """Return a start method that never forks a process with running threads, which can hang the workers.

    On Linux a server process imports everything once, and the workers are its forks. Elsewhere each imports it.
    """
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cifar100.data.loading.dataset", "cifar100.data.augmentation.single_image"])
    from multiprocessing import forkserver  # POSIX only

    with kept_from_children():
        forkserver.ensure_running()
    return context


def _end_with_the_trainer(worker: int) -> None:
    """End this worker when the training process has ended, not at Ctrl-C, which reaches all processes of a terminal.

    torch watches the operating system's parent process, which is the server under `forkserver`. That server blocks
    Ctrl-C already.
    """
    if not sys.platform.startswith("linux"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    when_the_parent_ends(lambda: os._exit(1))


def _as_it_is(batch: Any) -> Any:
    return batch
