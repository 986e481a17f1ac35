"""A data set in CIFAR-100's format, in memory: read from an official release or drawn by this program."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ReleaseSplit:
    """One split of a release in CIFAR-100's format."""

    images: NDArray[np.uint8]
    """(N, 3, 32, 32): planar RGB, row by row."""

    fine_labels: NDArray[np.int64]
    """(N,): 0 .. number of classes - 1."""

    coarse_labels: NDArray[np.int64]
    """(N,): superclass labels."""

    def sha256(self) -> str:
        """Return the sha256 of the content, independent of its container.

        It covers the official binary layout: coarse label byte, fine label byte and 3072 pixel bytes of each image.
        """
        labels = np.stack([self.coarse_labels, self.fine_labels], axis=1).astype(np.uint8)
        records = np.concatenate([labels, self.images.reshape(len(self.images), 3072)], axis=1)
        return hashlib.sha256(records.data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Release:
    """A whole data set in CIFAR-100's format."""

    train: ReleaseSplit
    test: ReleaseSplit
    class_names: tuple[str, ...]
    superclass_names: tuple[str, ...]
