"""Classify image files, in batches of constant memory. Needs no torch by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cifar100.config.shown_values import shown
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.layout import DatasetInfo
from cifar100.errors import UserError
from cifar100.process.processors import usable_processors

BATCH_SIZE = 256
"""Number of files that are read and classified at a time; a `TrainedNetwork` takes as many in one forward pass."""

MAX_THREADS = 8
"""Each reads an image at a time. All together take as much memory as one of the largest; see `data.decoding.memory`."""


class Classifier(Protocol):
    """A `TrainedNetwork` or an `ExportedNetwork`."""

    @property
    def info(self) -> DatasetInfo:
        """The description of the training data; S is its `image_size`."""

    def __call__(self, images: NDArray[np.uint8]) -> Any:
        """images: uint8 (N, 3, S, S). Returns the probabilities (N, num_classes), as numpy can read them."""


@dataclass(frozen=True, kw_only=True)
class ClassProbability:
    """A class and how probable it is."""

    name: str
    probability: float
    superclass: str | None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The most probable classes of an image, in descending order."""

    image: str
    classes: list[ClassProbability]


def classify(classifier: Classifier, images: Sequence[Path], *, top: int) -> Iterator[Prediction]:
    """Yield the prediction of each image file in order. Reads and classifies `BATCH_SIZE` files at a time.

    Args:
        classifier: the network.
        images: files of any size and mode, in a supported format; see `read_image`.
        top: number of classes to return for each image.

    Raises:
        UserError: `top` is not positive, or a file is not an image. Predictions of earlier batches have been yielded.
    """
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise UserError(f"--top is {shown(top)}, but it must be a whole number of at least 1.")
    read = partial(read_image, side=classifier.info.image_size)
    with ThreadPoolExecutor(min(MAX_THREADS, usable_processors())) as pool:
        for start in range(0, len(images), BATCH_SIZE):
            files = images[start : start + BATCH_SIZE]
            pixels = np.stack(list(pool.map(read, files)))  # (N, S, S, 3)
            probabilities = np.asarray(classifier(pixels.transpose(0, 3, 1, 2)))
            for file, row in zip(files, probabilities, strict=True):
                yield Prediction(image=str(file), classes=_most_probable(row, classifier.info, top))


def _most_probable(probabilities: NDArray[np.float32], info: DatasetInfo, top: int) -> list[ClassProbability]:
    indices = np.argsort(-probabilities, kind="stable")[:top]
    return [
        ClassProbability(
            name=info.class_names[index],
            probability=float(probabilities[index]),
            superclass=info.superclass_names[info.class_to_superclass[index]] if info.class_to_superclass else None,
        )
        for index in indices.tolist()
    ]
