"""What an edited `audit.csv` leaves out of the training images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.data.audit.table import check_classes_remain, read_table, rejected_indices
from cifar100.results.evaluation_data import every_image


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """What an edited table leaves out."""

    table: Path
    root: Path
    train: NDArray[np.int64]
    """Indices of the rejected training images."""

    test: NDArray[np.int64]
    """Indices of the rejected test images, which are never left out."""

    num_train: int


def read_exclusion(table: Path, root: Path) -> Exclusion:
    """Compare an edited table with the data, and return what it rejects.

    Raises:
        UserError: the table cannot be read, or a row does not fit the data.
    """
    images = every_image(root)
    rows = read_table(table, images)
    rejected = rejected_indices(rows, split="train")
    check_classes_remain(table, rejected, images.labels[: images.info.num_train], images.info)
    return Exclusion(
        table=table,
        root=root,
        train=rejected,
        test=rejected_indices(rows, split="test"),
        num_train=images.info.num_train,
    )
