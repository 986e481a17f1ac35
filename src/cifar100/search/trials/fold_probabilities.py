"""Out-of-fold probabilities: of each training image, by the network that was not trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.special import softmax

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.results.evaluate import evaluate
from cifar100.results.saved_evaluation import SavedEvaluation, load_evaluation
from cifar100.results.saved_probabilities import save_probabilities
from cifar100.runs.folder import RunFolder


def save_fold_probabilities(
    runs: Sequence[RunFolder], info: DatasetInfo, path: Path, *, checkpoint: Literal["last", "best"]
) -> None:
    """Write the probabilities float32 (N, num_classes) and the labels int64 (N,) of the training images as .npz.

    The row of an image that was excluded from training and validation is nan.

    Args:
        runs: of all folds; each was measured on its validation images.
        info: the data.
        path: the file.
        checkpoint: whose probabilities. A run that was measured with other weights since is measured again.

    Raises:
        UserError: a run was not measured, or the file cannot be written.
    """
    probabilities = np.full((info.num_train, info.num_classes), np.nan, dtype=np.float32)
    labels = np.full(info.num_train, -1, dtype=np.int64)
    for run in runs:
        saved = _measured(run, checkpoint)
        held_out = load_split(run.split).validation
        probabilities[held_out] = softmax(saved.logits, axis=1)
        labels[held_out] = saved.labels
    save_probabilities(path, probabilities, labels)


def _measured(run: RunFolder, checkpoint: Literal["last", "best"]) -> SavedEvaluation:
    saved = load_evaluation(run, "validation")
    if saved is not None and not saved.content["checkpoint"].endswith(f"{checkpoint}.ckpt"):
        evaluate(run, split="validation", checkpoint=checkpoint)
        saved = load_evaluation(run, "validation")
    if saved is None:
        raise UserError(
            f"{run.path} was not measured on its validation images, as a run that diverged is not; change the "
            "settings, and choose another --name."
        )
    return saved
