"""Find images whose label is probably wrong, from the probabilities of networks that have not seen them.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021, arXiv:1911.00068, by
the authors' library cleanlab.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cifar100.errors import UserError
from cifar100.process.started import how_to_install


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """Images whose label is probably wrong, the most suspicious first."""

    rows: NDArray[np.int64]
    """int64 (S,): which of the images."""

    suggested: NDArray[np.int64]
    """int64 (S,): the most probable other class."""

    scores: NDArray[np.float64]
    """float64 (S,), 0 to 1: half of 1 plus the probability of the suggested class minus that of the label."""


def label_suspects(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Suspects:
    """Return the images that confident learning finds mislabelled (cleanlab's `prune_by_noise_rate`).

    They are ordered by cleanlab's `normalized_margin`: a confident other class. By the probability of the label alone,
    the order of a weak network begins with images that it cannot recognise.

    labels: int64 (N,). probabilities: float32 (N, num_classes), of networks that were not trained on these images.

    Raises:
        UserError: cleanlab is not installed.
    """
    check_cleanlab()
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="May not flag all label issues in class")  # a class with few images
        rows = np.flatnonzero(find_label_issues(labels, probabilities, filter_by="prune_by_noise_rate", n_jobs=1))
    quality = get_label_quality_scores(labels, probabilities, method="normalized_margin")[rows]
    order = np.argsort(quality, kind="stable")
    others = probabilities[rows]
    others[np.arange(len(rows)), labels[rows]] = -1
    suggested = others.argmax(axis=1).astype(np.int64)
    return Suspects(rows=rows[order], suggested=suggested[order], scores=1 - quality[order].astype(np.float64))


def check_cleanlab() -> None:
    """Check that the library is there.

    Raises:
        UserError: it is not.
    """
    try:
        import cleanlab  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"label errors are found by cleanlab, which cannot be imported ({error}); install it: "
            f"{how_to_install('audit')}"
        ) from error
