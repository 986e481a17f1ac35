"""Classify image files, in batches of constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cifar100.config.shown_values import shown
from cifar100.data.folder.image_files import read_image
from cifar100.errors import UserError
from cifar100.process.processors import usable_processors
from cifar100.runs.trained_network import BATCH_SIZE, TrainedNetwork

MAX_THREADS = 8
"""Each reads an image at a time. All together take as much memory as one of the largest; see `data.decoding.memory`."""


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


def classify(trained: TrainedNetwork, images: Sequence[Path], *, top: int) -> Iterator[Prediction]:
    """Yield the prediction of each image file in order. Reads and classifies `BATCH_SIZE` files at a time.

    Args:
        trained: the network.
        images: files of any size and mode, in a supported format; see `read_image`.
        top: number of classes to return for each image.

    Raises:
        UserError: `top` is not positive, or a file is not an image. Predictions of earlier batches have been yielded.
    """
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise UserError(f"--top is {shown(top)}, but it must be a whole number of at least 1.")
    with ThreadPoolExecutor(min(MAX_THREADS, usable_processors())) as pool:
        for start in range(0, len(images), BATCH_SIZE):
            files = images[start : start + BATCH_SIZE]
            pixels = np.stack(list(pool.map(read_image, files)))  # (N, 32, 32, 3)
            probabilities = trained(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            for file, row in zip(files, probabilities, strict=True):
                yield Prediction(image=str(file), classes=_most_probable(row, trained, top))


def _most_probable(probabilities: Tensor, trained: TrainedNetwork, top: int) -> list[ClassProbability]:
    values, indices = probabilities.topk(min(top, len(probabilities)))
    info = trained.info
    return [
        ClassProbability(
            name=info.class_names[index],
            probability=value,
            superclass=info.superclass_names[info.class_to_superclass[index]] if info.class_to_superclass else None,
        )
        for value, index in zip(values.tolist(), indices.tolist(), strict=True)
    ]
