"""A folder in the form of CIFAR-100-C, of a few images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.results.robustness.corruptions import COUNTED


def write_corruptions(
    folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], *, names: tuple[str, ...] = COUNTED
) -> None:
    """Write the images, uint8 (N, 3, 32, 32), darker with each severity."""
    folder.mkdir()
    upright = images.transpose(0, 2, 3, 1)
    for name in names:
        np.save(folder / f"{name}.npy", np.concatenate([upright // (severity + 1) for severity in range(5)]))
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
