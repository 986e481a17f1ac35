"""Refuse what could only fail after the first training."""

from __future__ import annotations

import numpy as np

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError


def check_images(config: Config, info: DatasetInfo, *, split: str, folds: int | None) -> None:
    """Refuse settings that leave no images to measure on.

    Raises:
        UserError: there are none, or more folds than images of a class.
    """
    if folds is not None:
        if config.data.num_folds is not None:
            raise UserError("--data.num_folds and --data.fold have no effect with --folds; leave them out.")
        _check_folds(config, info, folds)
    elif split == "test" and info.num_test == 0:
        raise UserError(
            f"{config.data.root} has no test images; measure with --split validation, or list some in test.csv."
        )
    elif split == "validation" and not _holds_out(config, info):
        raise UserError(
            f"--split validation needs validation images, but recipe {config.recipe} trains on all images; add "
            "--data.validation_fraction 0.1."
        )


def _holds_out(config: Config, info: DatasetInfo) -> bool:
    return config.data.validation_fraction > 0 or config.data.num_folds is not None or info.num_validation > 0


def _check_folds(config: Config, info: DatasetInfo, folds: int) -> None:
    labels = DataFolder(config.data.root, config.data.side).load_labels("train")
    counts = np.bincount(labels, minlength=info.num_classes)
    label = int(np.where(counts == 0, len(labels), counts).argmin())
    if folds > counts[label]:
        raise UserError(
            f"--folds is {folds}, but class {info.class_names[label]} has only {counts[label]:,} training images, of "
            f"which each fold needs one; use at most {counts[label]}."
        )
