"""A data set for worker processes, which import it by name: `tests/support` is on their path, a test module is not."""

from __future__ import annotations

import os
from typing import Any

import cv2
import torch
from torch import Tensor

from cifar100.data.loading.dataset import CsvImageDataset


class ThreadCounts(CsvImageDataset):
    """Returns as a label how many threads OpenCV and torch would use in the process that reads it."""

    def __getitem__(self, key: Any) -> tuple[Tensor, int]:
        image, _ = super().__getitem__(key)
        return image, 1000 * os.getpid() + 10 * cv2.getNumThreads() + torch.get_num_threads()
