"""Classify images in batches of constant memory, while later ones are read. Needs no torch by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cifar100.config.arguments import check_choice, check_flag
from cifar100.config.shown_values import shown
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.given_images import BATCH_SIZE, MAX_THREADS, in_batches, read_ahead, stack
from cifar100.errors import UserError
from cifar100.results.prediction.inputs import NamedFiles, read_found, wait_for_servers

Errors = Literal["raise", "keep"]


class Classifier(Protocol):
    """A `TrainedNetwork` or an `ExportedNetwork`."""

    @property
    def info(self) -> DatasetInfo:
        """The description of the training data; S is its `image_size`."""

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """images: uint8 (N, 3, S, S). Returns the probabilities (N, num_classes)."""


@dataclass(frozen=True, kw_only=True)
class ClassProbability:
    """A class and how probable it is."""

    name: str
    probability: float
    superclass: str | None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the network says about an image."""

    image: str
    """Its path or URL as it was found, `-` for standard input, or its place in the argument, such as `images[3]`."""

    classes: list[ClassProbability]
    """The most probable ones, in descending order; empty if the image cannot be read."""

    probabilities: dict[str, float] | None = None
    """Of every class, in the order of the classes, if they are wanted."""

    error: str | None = None
    """Why the image cannot be read: one sentence."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is wanted of each image.

    Raises:
        UserError: a value is none.
    """

    top: int = 5
    """Number of classes."""

    probabilities: bool = False
    """Also those of every class."""

    errors: Errors = "raise"
    """What to do with an image that cannot be read: `raise` its `UserError`, or `keep` it as a prediction."""

    def __post_init__(self) -> None:
        if not isinstance(self.top, int) or isinstance(self.top, bool) or self.top < 1:
            raise UserError(f"--top is {shown(self.top)}, but it must be a whole number of at least 1.")
        check_flag("probabilities", self.probabilities)
        check_choice("errors", self.errors, ("raise", "keep"))


class PredictionStream(Iterator[Prediction]):
    """The predictions of images, in order. Reads and classifies `BATCH_SIZE` images at a time.

    Args:
        classifier: the network.
        images: what `find_images` returns.
        wanted: what to return.

    Raises:
        UserError: at an image that cannot be read, with `errors="raise"`. Earlier predictions have been returned.
    """

    def __init__(
        self, classifier: Classifier, images: NamedFiles | Iterator[tuple[str, Any]], wanted: Wanted | None = None
    ) -> None:
        self.info = classifier.info
        self.total = len(images) if isinstance(images, NamedFiles) else None
        """Number of images, if it is known."""
        self._wanted = wanted or Wanted()
        self._predictions = self._classify(classifier, images)

    def __next__(self) -> Prediction:
        return next(self._predictions)

    def _classify(self, classifier: Classifier, images: NamedFiles | Iterator[tuple[str, Any]]) -> Iterator[Prediction]:
        read = partial(_read, side=self.info.image_size)
        if isinstance(images, NamedFiles):
            threads = MAX_THREADS if wait_for_servers(images) else None
            results = read_ahead(read, ((name, name) for name in images), ahead=2 * BATCH_SIZE, threads=threads)
        else:
            results = read_ahead(read, images, ahead=2 * MAX_THREADS)
        for batch in in_batches(results):
            pixels = [found for _, found in batch if not isinstance(found, UserError)]
            rows = iter(classifier.probabilities(stack(pixels)) if pixels else ())
            for name, found in batch:
                if not isinstance(found, UserError):
                    yield self._prediction(name, next(rows))
                elif self._wanted.errors == "raise":
                    raise found
                else:
                    yield Prediction(image=name, classes=[], error=str(found))

    def _prediction(self, name: str, row: NDArray[np.float32]) -> Prediction:
        info = self.info
        classes = [
            ClassProbability(
                name=info.class_names[index],
                probability=_shortest(row[index]),
                superclass=info.superclass_names[info.class_to_superclass[index]] if info.class_to_superclass else None,
            )
            for index in np.argsort(-row, kind="stable")[: self._wanted.top].tolist()
        ]
        every = dict(zip(info.class_names, map(_shortest, row), strict=True)) if self._wanted.probabilities else None
        return Prediction(image=name, classes=classes, probabilities=every)


def _read(item: tuple[str, Any], *, side: int) -> tuple[str, NDArray[np.uint8] | UserError]:
    try:
        return item[0], read_found(*item, side=side)
    except UserError as error:
        return item[0], error


def _shortest(probability: np.float32) -> float:
    """Return the number of fewest digits that is this one in float32: 0.1, not 0.10000000149011612."""
    return float(str(probability))
