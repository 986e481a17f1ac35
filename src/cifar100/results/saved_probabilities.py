"""Probabilities of images by networks that were not trained on them, as a file: what folds write and an audit reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.audit.images import AuditedImages
from cifar100.data.audit.label_errors import check_cleanlab
from cifar100.data.folder.array_files import read_npz
from cifar100.errors import UserError
from cifar100.files.atomic import write_atomically, writing_below
from cifar100.foreign_text import printable, reason
from cifar100.results.audit import AuditReport, NetworkView, check_out, write_audit
from cifar100.results.evaluation_data import every_image

MAX_BYTES = 2**32

TOLERANCE = 1e-3
"""By which the probabilities of an image may miss 1."""


def save_probabilities(path: Path, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Write probabilities float32 (N, num_classes) and labels int64 (N,); a row of nan is an image without any.

    Raises:
        UserError: the file cannot be written.
    """
    arrays = io.BytesIO()
    np.savez_compressed(arrays, probabilities=probabilities, labels=labels)
    with writing_below(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, arrays.getvalue())


def audit_with_probabilities(root: Path, file: Path, *, out: Path) -> AuditReport:
    """Audit the data with saved probabilities, of the training images or of all.

    Args:
        root: the data folder.
        file: as `save_probabilities` writes it.
        out: folder to write to.

    Raises:
        UserError: the file cannot be read, or is of other images; or `out` holds verdicts.
    """
    check_out(out)
    check_cleanlab()
    images = every_image(root)
    return write_audit(images, _view(file, images), root=root, out=out)


def _view(file: Path, images: AuditedImages) -> NetworkView:
    try:
        arrays = read_npz(file, ("probabilities", "labels"), max_bytes=MAX_BYTES)
        found, labels = _checked(arrays, images)
    except Exception as error:  # zipfile and zlib raise many kinds for a damaged file
        raise UserError(
            f"{file} cannot be used as probabilities of the images of {images.info.describe()} ({reason(error)}); "
            "make them: cifar100 trials --folds K"
        ) from error
    probabilities = np.zeros((len(images.labels), images.info.num_classes), dtype=np.float32)
    is_unseen = np.zeros(len(images.labels), dtype=bool)
    is_unseen[: len(labels)] = np.isfinite(found).all(axis=1)
    probabilities[is_unseen] = found[is_unseen[: len(labels)]]
    return NetworkView(
        network=f"the probabilities in {printable(file, max_length=200)}",
        unseen_images=f"{int(is_unseen.sum()):,} images",
        probabilities=probabilities,
        is_unseen=is_unseen,
        features=None,
    )


def _checked(arrays: dict[str, NDArray[Any]], images: AuditedImages) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the arrays, if they fit the images.

    Raises:
        ValueError: they do not; says why.
    """
    probabilities, labels = arrays["probabilities"], arrays["labels"]
    sizes = (images.info.num_train, len(images.labels))
    if probabilities.dtype != np.float32 or probabilities.ndim != 2 or len(probabilities) not in sizes:
        found = f"probabilities {probabilities.dtype} {probabilities.shape}"
        raise ValueError(f"{found}, expected float32 with {sizes[0]} rows")
    if probabilities.shape[1] != images.info.num_classes:
        raise ValueError(f"{probabilities.shape[1]:,} classes, expected {images.info.num_classes:,}")
    rows = np.asarray(probabilities, dtype=np.float32)
    is_known = np.isfinite(rows).all(axis=1)
    known = rows[is_known]
    if len(known) == 0 or known.min() < 0 or abs(known.sum(axis=1) - 1).max() > TOLERANCE:
        raise ValueError("its rows are not probabilities, which are at least 0 and sum to 1")
    if labels.shape != (len(rows),) or (labels[is_known] != images.labels[: len(rows)][is_known]).any():
        raise ValueError("its labels are not those of the images: it belongs to other data")
    return rows, np.asarray(labels, dtype=np.int64)
