"""Out-of-fold probabilities: of each training image, by the network that was not trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.results.saved_evaluation import load_evaluation
from cifar100.results.saved_probabilities import save_probabilities
from cifar100.runs.folder import RunFolder


def save_fold_probabilities(runs: Sequence[RunFolder], info: DatasetInfo, path: Path) -> None:
    """Write the probabilities float32 (N, num_classes) and the labels int64 (N,) of the training images as .npz.

    The row of an image that was excluded from training and validation is nan.

    Args:
        runs: of all folds; each was measured on its validation images.
        info: the data.
        path: the file.

    Raises:
        UserError: a run was not measured, or the file cannot be written.
    """
    probabilities = np.full((info.num_train, info.num_classes), np.nan, dtype=np.float32)
    labels = np.full(info.num_train, -1, dtype=np.int64)
    for run in runs:
        saved = load_evaluation(run, "validation")
        if saved is None:
            raise UserError(
                f"{run.path} was not measured on its validation images, as a run that diverged is not; change the "
                "settings, and choose another --name."
            )
        held_out = load_split(run.split).validation
        probabilities[held_out] = softmax(saved.logits, axis=1)
        labels[held_out] = saved.labels
    save_probabilities(path, probabilities, labels)
