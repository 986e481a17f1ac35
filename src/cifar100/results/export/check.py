"""Check an export: its probabilities against those of the network, its accuracy and its speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cifar100.errors import UserError
from cifar100.results.evaluation_data import images_of
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork
from cifar100.terminal import warn

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
Classifier = Callable[[Images], Probabilities]
"""Maps images (N, 3, H, W) to probabilities (N, num_classes)."""

BATCH_SIZE = 256
NUM_IMAGES = 256

OTHER_SIZES = ((20, 30), (480, 640))
"""Height and width to which some images are scaled, to check the resizing."""

_NUM_OTHER = 8
_SPLITS: tuple[Literal["validation", "train"], ...] = ("validation", "train")
SECONDS, _MAX_REPETITIONS = 2.0, 30
"""Of a measurement of time."""


@dataclass(frozen=True, kw_only=True)
class CheckImages:
    """Images for the comparison; never the test images."""

    images: Images
    """(N, 3, S, S)."""

    description: str


def check_images(trained: TrainedNetwork, run: RunFolder, *, data_root: Path | None) -> CheckImages:
    """Return validation images of the run, else training images; random ones, with a warning, without its data."""
    problem, side = "", trained.info.image_size
    for split in _SPLITS:
        try:
            images = images_of(trained, run, split=split, data_root=data_root, most=NUM_IMAGES)[0]
        except UserError as error:
            problem = str(error)
            continue
        kind = split.replace("train", "training")
        return CheckImages(images=images, description=f"{len(images):,} {kind} images ({side}x{side})")
    warn(f"checking the export on random images, because {problem}")
    generator = np.random.Generator(np.random.PCG64(0))
    images = generator.integers(0, 256, (NUM_IMAGES, 3, side, side), dtype=np.uint8)
    return CheckImages(images=images, description=f"{NUM_IMAGES} random images ({side}x{side})")


def largest_difference(exported: Classifier, network: Classifier, images: Images) -> float:
    """Return the largest difference of a probability over images (N, 3, S, S); infinite if one is not finite."""
    return _largest(exported(images), network(images))


def largest_difference_of_other_sizes(exported: Classifier, network: Classifier, images: Images) -> float:
    """Return the same over enlarged and shrunk images. The network gets them as `read_image` resizes them."""
    found = 0.0
    for height, width in OTHER_SIZES:
        scaled = [_pillow(image).resize((width, height), Image.Resampling.BICUBIC) for image in images[:_NUM_OTHER]]
        fitted = [ImageOps.fit(image, images.shape[2:], method=Image.Resampling.BICUBIC) for image in scaled]
        found = max(found, _largest(exported(_batch(scaled)), network(_batch(fitted))))
    return found


def accuracy(classifier: Classifier, images: Images, labels: NDArray[np.int64]) -> float:
    """Return the fraction of images (N, 3, S, S) that are recognised."""
    starts = range(0, len(images), BATCH_SIZE)
    predicted = [classifier(images[start : start + BATCH_SIZE]).argmax(axis=1) for start in starts]
    return float((np.concatenate(predicted) == labels).mean())


def milliseconds(exported: Classifier, images: Images, *, batch_size: int) -> float:
    """Return the median time of a batch of images (N, 3, S, S), which are repeated to fill it."""
    batch = np.resize(images, (batch_size, *images.shape[1:]))
    exported(batch)  # the first one allocates memory
    times: list[float] = []
    while not times or (sum(times) < SECONDS and len(times) < _MAX_REPETITIONS):
        started = time.perf_counter()
        exported(batch)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def _largest(found: Probabilities, expected: Probabilities) -> float:
    difference = float(np.abs(found - expected).max())
    return difference if np.isfinite(difference) else np.inf


def _pillow(image: Images) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def _batch(images: list[Image.Image]) -> Images:
    return np.ascontiguousarray(np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2))
