"""Datasets that fail in a worker process, which imports them from here."""

import errno

import torch

from cifar100.data.loading.dataset import CsvImageDataset
from cifar100.data.loading.image_loader import _BatchDataset


class Full(_BatchDataset):
    """As in a worker that finds no room for its batch."""

    def __getitem__(self, keys):
        if torch.utils.data.get_worker_info() is not None:
            return OSError(errno.ENOSPC, "no shared memory")
        return super().__getitem__(keys)


class Buggy(CsvImageDataset):
    def __getitem__(self, key):
        raise RuntimeError("a bug")
