"""The files of CIFAR-100-C: a .npy file for each corruption, and `labels.npy`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.data.folder.array_files import open_npy, read_npy
from cifar100.errors import UserError
from cifar100.files.regular import why_not
from cifar100.foreign_text import reason
from cifar100.results.robustness.corruptions import BATCH_SIZE, COUNTED, EXTRA, NUM_SEVERITIES, Images

WHERE = "https://zenodo.org/records/3555552"

EXPECTED = f"expected the files of CIFAR-100-C ({WHERE})"


class CorruptionFiles:
    """A folder of corrupted images. Its files are checked at once, and read in parts later.

    Each file holds uint8 (5 N, 32, 32, 3): the N test images in order, with severity 1 to 5. The 15 files of the mean
    must be there. Of the four extra ones those that are there are used.

    Raises:
        UserError: a file is missing, damaged, of another form, or of other labels. The message names it.
    """

    is_official = True

    def __init__(self, folder: Path, labels: NDArray[np.int64]) -> None:
        self._folder = folder
        self._num_images = len(labels)
        self.description = f"CIFAR-100-C, files in {folder}"
        wrong = why_not("folder", folder) or ("" if folder.is_dir() else "does not exist")
        if wrong:
            raise UserError(f"{folder} {wrong}; {EXPECTED}, or `generated`.")
        self.names = (*COUNTED, *(name for name in EXTRA if self._path(name).exists()))
        for name in (*COUNTED, "labels"):
            self._check_present(self._path(name))
        self._check_labels(labels)
        for name in self.names:
            self._check_images(self._path(name))

    def batches(self, name: str, severity: int) -> Iterator[Images]:
        """See `CorruptedImages`."""
        path = self._path(name)
        first = (severity - 1) * self._num_images
        try:
            with open_npy(path) as rows:
                for start in range(0, self._num_images, BATCH_SIZE):
                    stop = min(start + BATCH_SIZE, self._num_images)
                    yield rows.read(first + start, first + stop)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def _check_present(self, path: Path) -> None:
        if path.exists():
            return
        inner = self._folder / "CIFAR-100-C"
        advice = f"; use {inner}" if inner.is_dir() else ""
        raise UserError(f"{path} {why_not('regular file', path) or 'does not exist'}; {EXPECTED}{advice}.")

    def _check_labels(self, labels: NDArray[np.int64]) -> None:
        path, expected = self._path("labels"), np.tile(labels, NUM_SEVERITIES)
        try:
            found = read_npy(path)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        if found.shape != expected.shape or found.dtype.kind not in "iu":
            raise UserError(f"{path} holds {found.dtype} {found.shape}, expected labels {expected.shape}; {EXPECTED}.")
        different = np.flatnonzero(found != expected)
        if len(different):
            first = different[0]
            raise UserError(
                f"{path} has label {found[first]} at {first}, but the test image has {expected[first]}; use the "
                "files of these data, in their order."
            )

    def _check_images(self, path: Path) -> None:
        expected = (NUM_SEVERITIES * self._num_images, 32, 32, 3)
        try:
            with open_npy(path) as rows:
                shape, dtype = rows.shape, rows.dtype
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        if shape != expected or dtype != np.uint8:
            raise UserError(f"{path} holds {dtype} {shape}, expected uint8 {expected}; {EXPECTED}.")


def _unreadable(path: Path, error: Exception) -> UserError:
    found = why_not("regular file", path) or f"cannot be read ({reason(error)})"
    return UserError(f"{path} {found}; {EXPECTED}.")
