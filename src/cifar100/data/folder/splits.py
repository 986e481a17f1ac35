"""Split the training images into training and validation, and leave some out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """Ascending positions in the training set, int64; each position is in exactly one of the three."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    excluded: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Neither trained on nor validated."""

    @property
    def num_images(self) -> int:
        """Number of positions."""
        return len(self.train) + len(self.validation) + len(self.excluded)


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
            f"--data.validation_fraction {fraction:g} of {len(labels):,} training images holds out no image of any "
            "class; use a larger fraction, or 0 to train on all images."
        )
    return hold_out(held_out)


def stratified_folds(labels: NDArray[np.int64], *, num_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each image, int64 (N,); the folds have equally many images of each class, give or take one.

    labels: int64 (N,).

    Raises:
        UserError: there are more folds than images.
    """
    if num_folds > len(labels):
        raise UserError(f"--data.num_folds is {num_folds}, but there are only {len(labels):,} training images.")
    generator = np.random.Generator(np.random.PCG64(seed))  # as in `stratified_split`
    order = np.lexsort((generator.random(len(labels)), labels))  # shuffled within each class
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % num_folds
    return folds


def hold_out(held_out: NDArray[np.bool_]) -> Split:
    """Return the split that validates on some images. held_out: bool (N,)."""
    return Split(train=np.flatnonzero(~held_out), validation=np.flatnonzero(held_out))


def keep_together(split: Split, groups: Sequence[Sequence[int]], labels: NDArray[np.int64], *, seed: int) -> Split:
    """Return a split that divides no group and holds out as many images of each class, if it can.

    A group goes to the side that has most of it, and to the training images if both have half. Images without a group
    then move at random to restore the number of held out images of each class. All others stay where they are.

    groups: positions, each in one group at most. labels: int64 (N,).
    """
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[split.validation] = True
    wanted = np.bincount(labels[held_out], minlength=labels.max() + 1)
    movable = np.ones(len(labels), dtype=bool)
    for group in groups:
        members = list(group)
        held_out[members] = held_out[members].mean() > 0.5
        movable[members] = False
    keys = np.random.Generator(np.random.PCG64([seed, 1])).random(len(labels))
    for label, surplus in enumerate(np.bincount(labels[held_out], minlength=len(wanted)) - wanted):
        candidates = np.flatnonzero(movable & (labels == label) & (held_out == (surplus > 0)))
        moved = candidates[np.argsort(keys[candidates])][: abs(surplus)]
        held_out[moved] = surplus < 0
    return hold_out(held_out)


def keep_in_one_fold(
    folds: NDArray[np.int64], groups: Sequence[Sequence[int]], labels: NDArray[np.int64], *, seed: int
) -> NDArray[np.int64]:
    """Return folds that divide no group, with as many images of each class in each fold as before, if possible.

    A group goes to the fold that has most of it, the first of several. Images without a group then move at random from
    folds that have gained images of their class to those that have lost some. Each image stays in exactly one fold.

    folds: int64 (N,). groups: positions, each in one group at most. labels: int64 (N,).
    """
    moved, num_folds = folds.copy(), int(folds.max()) + 1
    movable = np.ones(len(labels), dtype=bool)
    for group in groups:
        members = list(group)
        moved[members] = np.bincount(folds[members], minlength=num_folds).argmax()
        movable[members] = False
    keys = np.random.Generator(np.random.PCG64([seed, 2])).random(len(labels))
    for label in np.unique(labels):
        of_class = labels == label
        surplus = np.bincount(moved[of_class], minlength=num_folds) - np.bincount(folds[of_class], minlength=num_folds)
        leaving: list[int] = []
        for fold in np.flatnonzero(surplus > 0):
            candidates = np.flatnonzero(movable & of_class & (moved == fold))
            leaving += candidates[np.argsort(keys[candidates])][: surplus[fold]].tolist()
        lacking = np.repeat(np.arange(num_folds), np.maximum(-surplus, 0))
        moved[leaving[: len(lacking)]] = lacking[: len(leaving)]
    return moved


def exclude(split: Split, positions: NDArray[np.int64]) -> Split:
    """Return a split without some images; all others stay on their side.

    Raises:
        UserError: nothing is left to train on.
    """
    train, validation = np.setdiff1d(split.train, positions), np.setdiff1d(split.validation, positions)
    if len(train) == 0:
        raise UserError(f"--data.exclude leaves out all {len(split.train):,} training images; reject fewer.")
    return Split(train=train, validation=validation, excluded=np.unique(positions))


def split_off_last(num_images: int, num_validation: int) -> Split:
    """Hold out the last images, which a CSV file of its own lists."""
    positions = np.arange(num_images, dtype=np.int64)
    num_train = num_images - num_validation
    return Split(train=positions[:num_train], validation=positions[num_train:])


def save_split(split: Split, path: Path) -> None:
    """Write a split as .npz, atomically."""
    with replacing(path) as file:
        arrays = {"train": split.train, "validation": split.validation}
        if len(split.excluded):
            arrays["excluded"] = split.excluded
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_split(path: Path) -> Split:
    """Read what `save_split` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        arrays = read_npz(path, ("train", "validation"), optional=("excluded",), max_bytes=MAX_SPLIT_BYTES)
        split = Split(**arrays)
    except Exception as error:  # zipfile and zlib raise many kinds for a damaged file
        raise UserError(f"{path} cannot be read as a train/validation split ({reason(error)}); restore it.") from error
    everything = np.concatenate([array.ravel() for array in arrays.values()])
    is_listed = all(array.ndim == 1 for array in arrays.values()) and everything.dtype == np.int64
    if not is_listed or not np.array_equal(np.sort(everything), np.arange(len(everything))):
        raise UserError(f"{path} holds duplicate, missing or fractional positions, expected 0 to N - 1; restore it.")
    return split
