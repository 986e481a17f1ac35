"""The files of an evaluation in a run folder: its figures, `evaluation_<split>.json`, and the logits behind them.

`logits_<split>.npz` lets reports and comparisons work without the network: logits float16 (N, num_classes), labels
int64 (N,), and the predictions int64 (N,), because rounding to float16 can make two logits equal.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.array_files import read_npz
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, what_to_do, write_atomically, write_json
from cifar100.files.regular import read_bytes
from cifar100.files.schema import (
    all_of,
    boolean,
    fields,
    list_of,
    map_of,
    nothing_or,
    number,
    read_as,
    text,
    whole,
)
from cifar100.foreign_text import reason
from cifar100.runs.folder import RunFolder

if TYPE_CHECKING:  # reading needs no torch, which takes seconds to import
    from torch import Tensor

MAX_LOGITS_BYTES = 2**31
"""A million images of a thousand classes."""

_ESTIMATE = fields({"value": number(), "interval": list_of(number(), length=2), "num_images": whole(1)})

_EVALUATION = fields(
    {
        "metrics": all_of(map_of(_ESTIMATE), fields({"accuracy": _ESTIMATE})),
        "per_class": map_of(fields({"precision": number(0, 1), "recall": number(0, 1), "num_images": whole(1)})),
        "split": text,
        "images_sha256": text,
        "logits_sha256": text,
        "num_images": whole(1),
    },
    optional={"data": text, "averaged": boolean, "step": nothing_or(whole()), "num_parameters": whole()},
)

_WEIGHTS = fields({"checkpoint": text, "epoch": whole()})

_MEMBERS = fields({"members": list_of(all_of(_WEIGHTS, fields({"name": text, "path": text})))})


def _of_weights_or_members(value: Any, where: str) -> None:
    """Admit the evaluation of one network, or that of an ensemble."""
    (_MEMBERS if "members" in value else _WEIGHTS)(value, where)


@dataclass(frozen=True, kw_only=True)
class SavedEvaluation:
    """What `evaluate` has saved of a run on one split."""

    content: dict[str, Any]
    """The JSON file: `dataclasses.asdict` of an `Evaluation`."""

    logits: NDArray[np.float32]
    """(N, num_classes), rounded to float16 precision."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]

    def is_of_other_data(self, trained_on: DatasetInfo) -> bool:
        """Return whether these are test images, but not those of the data that the run was trained on."""
        own = trained_on.sha256.get("test")
        return self.content["split"] == "test" and own not in (None, self.content["images_sha256"])


def save_evaluation(content: dict[str, Any], run: RunFolder, *, split: str, logits: Tensor, labels: Tensor) -> None:
    """Write both files. The JSON holds the sha256 of the arrays, so that they can only be read together.

    Args:
        content: JSON of the evaluation.
        run: the run folder.
        split: name of the images.
        logits: float (N, num_classes).
        labels: int64 (N,).

    Raises:
        UserError: a file cannot be written.
    """
    remove_partial_files(run.path)
    arrays = io.BytesIO()
    largest = float(np.finfo(np.float16).max)
    rounded = logits.clamp(-largest, largest).numpy().astype(np.float16)
    np.savez_compressed(arrays, logits=rounded, labels=labels.numpy(), predicted=logits.argmax(dim=1).numpy())
    path = run.logits(split)
    try:
        write_atomically(path, arrays.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); {what_to_do(error)}.") from error
    digest = hashlib.sha256(arrays.getbuffer()).hexdigest()
    write_json({**content, "logits_sha256": digest}, run.evaluation(split))


def load_evaluation(run: RunFolder, split: str) -> SavedEvaluation | None:
    """Return what `evaluate` has saved; None if the run was not evaluated on these images.

    Raises:
        UserError: a file is damaged, or of another version of the program.
    """
    path, arrays = run.evaluation(split), run.logits(split)
    if not path.exists():
        return None
    try:
        content = read_as(path, all_of(_EVALUATION, _of_weights_or_members))
        path = arrays
        _check_digest(arrays, content["logits_sha256"])
        found = read_npz(arrays, ("logits", "labels", "predicted"), max_bytes=MAX_LOGITS_BYTES)
        _check_arrays(found, content["num_images"])
    except Exception as error:  # zipfile and zlib raise many kinds for a damaged file
        again = "" if split == "test" else f" --split {split}"
        raise UserError(
            f"{path} cannot be read as what evaluate saves ({reason(error)}); measure again: "
            f"cifar100 evaluate {run.argument}{again}"
        ) from error
    return SavedEvaluation(
        content=content,
        logits=found["logits"].astype(np.float32),
        labels=found["labels"],
        predicted=found["predicted"],
    )


def _check_digest(path: Path, expected: str) -> None:
    if hashlib.sha256(read_bytes(path, limit=MAX_LOGITS_BYTES)).hexdigest() != expected:
        raise ValueError("it is not of the same evaluation as the JSON file")


def _check_arrays(arrays: dict[str, NDArray[Any]], num_images: int) -> None:
    logits, labels, predicted = arrays["logits"], arrays["labels"], arrays["predicted"]
    if logits.dtype != np.float16 or logits.ndim != 2 or not len(logits) == len(labels) == len(predicted) == num_images:
        raise ValueError(f"logits {logits.dtype} {logits.shape}, expected float16 ({num_images}, number of classes)")
    for name in ("labels", "predicted"):
        values = arrays[name]
        if values.shape != (num_images,) or values.dtype != np.int64:
            raise ValueError(f"{name} {values.dtype} {values.shape}, expected int64 ({num_images},)")
        if values.min() < 0 or values.max() >= logits.shape[1]:
            raise ValueError(f"{name} from {values.min()} to {values.max()}, expected 0 to {logits.shape[1] - 1}")
