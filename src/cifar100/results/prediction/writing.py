"""Predictions as CSV or JSON, one line for each image, written as they arrive."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from cifar100.data.dataset_info import DatasetInfo
from cifar100.errors import UserError
from cifar100.files.regular import open_regular
from cifar100.results.prediction.stream import Prediction

Format = Literal["csv", "json"]


_STARTS = (b"image,class,probability", b'[\n{"image": ')
"""The first bytes of a file of predictions."""


def check_replaceable(path: Path) -> None:
    """Refuse to replace a file that holds no earlier predictions.

    Raises:
        UserError: there is another file.
    """
    if not os.path.lexists(path):
        return
    try:
        with open_regular(path) as file:
            is_ours = file.read(max(map(len, _STARTS))).startswith(_STARTS)
    except OSError:
        is_ours = False
    if not is_ours:
        raise UserError(f"{path} already exists and holds no predictions; choose another --output.")


def lines(
    predictions: Iterator[Prediction],
    format: Format,  # noqa: A002
    info: DatasetInfo,
    *,
    top: int,
    probabilities: bool,
) -> Iterator[str]:
    """Yield the lines of a file, each with its line break. A name in it may hold bytes that are not UTF-8.

    Args:
        predictions: of any number of images.
        format: `csv` or `json`.
        info: the classes.
        top: number of classes of each image.
        probabilities: whether the predictions have those of every class.
    """
    if format == "json":
        return _json(predictions)
    return _csv(predictions, info, top=min(top, info.num_classes), probabilities=probabilities)


def encoded(line: str) -> bytes:
    """Return a line as UTF-8; bytes of a file's name that are not UTF-8 stay as they are."""
    return line.encode("utf-8", errors="surrogateescape")


def _json(predictions: Iterator[Prediction]) -> Iterator[str]:
    """Yield an array with an object in each line, in ASCII."""
    yield "[\n"
    waiting = ""  # for what follows: a comma or the end
    for prediction in predictions:
        if waiting:
            yield f"{waiting},\n"
        content = asdict(prediction)
        if prediction.probabilities is None:
            del content["probabilities"]
        waiting = json.dumps(content, allow_nan=False)
    if waiting:
        yield f"{waiting}\n"
    yield "]\n"


def _csv(predictions: Iterator[Prediction], info: DatasetInfo, *, top: int, probabilities: bool) -> Iterator[str]:
    """Yield a header and a row for each image.

    The columns are image, then class, probability and superclass, then class_2, probability_2, superclass_2 and so on,
    then p_NAME of every class, then error. Without superclasses their columns are missing. Names stay as they are.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")

    def line(cells: list[Any]) -> str:
        writer.writerow(cells)
        written = text.getvalue()
        text.seek(0)
        text.truncate()
        return written

    columns = ("class", "probability", "superclass") if info.class_to_superclass else ("class", "probability")
    ranked = [name if rank == 1 else f"{name}_{rank}" for rank in range(1, top + 1) for name in columns]
    every = [f"p_{name}" for name in info.class_names] if probabilities else []
    yield line(["image", *ranked, *every, "error"])
    for prediction in predictions:
        cells = chain.from_iterable(
            (entry.name, entry.probability, entry.superclass)[: len(columns)] for entry in prediction.classes[:top]
        )
        values = prediction.probabilities.values() if every and prediction.probabilities else ()
        row = [prediction.image, *cells, *values]
        yield line([*row, *[""] * (1 + len(ranked) + len(every) - len(row)), prediction.error or ""])
