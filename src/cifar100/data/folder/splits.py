"""Split the training images into training and validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.data.folder.array_files import read_npz
from cifar100.errors import UserError
from cifar100.files.atomic import replacing
from cifar100.foreign_text import reason

MAX_SPLIT_BYTES = 128 * 2**20
"""Eight bytes for each of 16 million training images."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Ascending positions in the training set, int64; each position is in exactly one of the two."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def stratified_split(labels: NDArray[np.int64], *, fraction: float, seed: int) -> Split:
    """Hold out `fraction` of each class at random, the same images on every platform.

    The number of images held out is rounded for each class, and at least one image remains for training.

    labels: int64 (N,).

    Raises:
        UserError: `fraction` is above 0, but every class is too small.
    """
    # PCG64 instead of `default_rng`, so that a later numpy cannot change the split.
    generator = np.random.Generator(np.random.PCG64(seed))
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(int(len(members) * fraction + 0.5), len(members) - 1)
        # Unlike `choice`, sorting all keys keeps the random numbers of the other classes independent of `fraction`.
        held_out[members[np.argsort(generator.random(len(members)))[:count]]] = True
    if fraction > 0 and not held_out.any():
        raise UserError(
            f"--data.validation_fraction {fraction:g} of {len(labels)} training images holds out no image of any "
            "class; give a larger fraction, or 0 to train on all images."
        )
    return Split(train=np.flatnonzero(~held_out), validation=np.flatnonzero(held_out))


def split_off_last(num_images: int, num_validation: int) -> Split:
    """Hold out the last images, which a CSV file of its own lists."""
    positions = np.arange(num_images, dtype=np.int64)
    num_train = num_images - num_validation
    return Split(train=positions[:num_train], validation=positions[num_train:])


def save_split(split: Split, path: Path) -> None:
    """Write a split as .npz, atomically."""
    with replacing(path) as file:
        np.savez_compressed(file, train=split.train, validation=split.validation)


def load_split(path: Path) -> Split:
    """Read what `save_split` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        split = Split(**read_npz(path, ("train", "validation"), max_bytes=MAX_SPLIT_BYTES))
    except Exception as error:  # zipfile and zlib raise many kinds for a damaged file
        raise UserError(f"{path} cannot be read as a train/validation split ({reason(error)}); restore it.") from error
    everything = np.concatenate([split.train.ravel(), split.validation.ravel()])
    is_listed = split.train.ndim == split.validation.ndim == 1 and everything.dtype == np.int64
    if not is_listed or not np.array_equal(np.sort(everything), np.arange(len(everything))):
        raise UserError(f"{path} holds duplicate, missing or fractional positions, expected 0 to N - 1; restore it.")
    return split
