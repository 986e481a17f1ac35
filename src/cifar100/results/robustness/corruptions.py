"""Accuracy on corrupted test images: CIFAR-100-C, or corruptions that are generated.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cifar100.long_steps import progress
from cifar100.results.measures import Z_95, Estimate, fraction

COUNTED = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The corruptions of the mean: noise, blur, weather, digital."""

EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")
"""Corruptions to choose settings on; they do not count in the mean."""

NUM_SEVERITIES = 5

BATCH_SIZE = 500

Images = NDArray[np.uint8]


class CorruptedImages(Protocol):
    """A source of corrupted images."""

    @property
    def description(self) -> str:
        """What they are, for results."""

    @property
    def is_official(self) -> bool:
        """Whether they have the form of CIFAR-100-C; generated ones have not."""

    @property
    def names(self) -> Sequence[str]:
        """The corruptions that it has, of `COUNTED` and `EXTRA`."""

    def batches(self, name: str, severity: int) -> Iterator[Images]:
        """Yield all images with a corruption of severity 1 to 5, in order: uint8 (B, S, S, 3)."""


@dataclass(frozen=True, kw_only=True)
class CorruptionAccuracy:
    """Top-1 accuracy on one corruption."""

    mean: Estimate
    """Over the five severities."""

    by_severity: tuple[Estimate, ...]
    """From severity 1 to 5."""


@dataclass(frozen=True, kw_only=True)
class CorruptionFigures:
    """Top-1 accuracy on corrupted images."""

    source: str
    is_official: bool
    """Whether the images were read from files in the form of CIFAR-100-C; if not, they were generated."""

    mean_accuracy: Estimate
    """Over the corruptions that count and their severities."""

    mean_error: float
    """1 - mean accuracy. The literature's mCE for CIFAR-100-C: it is not divided by another network's error."""

    by_corruption: dict[str, CorruptionAccuracy]
    """Of those that count in the mean."""

    extra: dict[str, CorruptionAccuracy]
    """Of those that do not."""

    left_out: tuple[str, ...]
    """Corruptions that belong to the mean, but that the source lacks."""


def measure_corruptions(
    source: CorruptedImages, labels: NDArray[np.int64], predict: Callable[[Images], NDArray[np.int64]]
) -> CorruptionFigures:
    """Measure a network on all corruptions of a source, in batches of constant memory. Shows progress.

    Args:
        source: the images.
        labels: of the images, int64 (N,).
        predict: maps images, uint8 (B, 3, S, S), to predicted labels, int64 (B,).
    """
    hits: dict[str, NDArray[np.bool_]] = {}
    total = len(source.names) * NUM_SEVERITIES * len(labels)
    with progress("Measuring on corrupted images", total=total) as advance:
        for name in source.names:
            rows = [_hits(source.batches(name, level + 1), labels, predict, advance) for level in range(NUM_SEVERITIES)]
            hits[name] = np.stack(rows)  # (5, N)
    counted = {name: rows for name, rows in hits.items() if name in COUNTED}
    mean = _mean_over_conditions(np.concatenate(list(counted.values())))
    accuracies = {name: _accuracy(rows) for name, rows in hits.items()}
    return CorruptionFigures(
        source=source.description,
        is_official=source.is_official,
        mean_accuracy=mean,
        mean_error=1 - mean.value,
        by_corruption={name: accuracies[name] for name in counted},
        extra={name: accuracies[name] for name in hits if name not in COUNTED},
        left_out=tuple(name for name in COUNTED if name not in counted),
    )


def _hits(
    batches: Iterator[Images],
    labels: NDArray[np.int64],
    predict: Callable[[Images], NDArray[np.int64]],
    advance: Callable[[int], None],
) -> NDArray[np.bool_]:
    """Return for each image whether it is recognised, bool (N,)."""
    predicted = []
    for images in _one_ahead(batches):
        predicted.append(predict(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
        advance(len(images))
    hits: NDArray[np.bool_] = np.concatenate(predicted) == labels
    return hits


def _one_ahead(batches: Iterator[Images]) -> Iterator[Images]:
    """Yield the same, while a thread makes the next batch."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, batches, None)
        while (batch := pending.result()) is not None:
            pending = pool.submit(next, batches, None)
            yield batch


def _accuracy(hits: NDArray[np.bool_]) -> CorruptionAccuracy:
    """hits: bool (5, N)."""
    by_severity = tuple(fraction(int(row.sum()), len(row)) for row in hits)
    return CorruptionAccuracy(mean=_mean_over_conditions(hits), by_severity=by_severity)


def _mean_over_conditions(hits: NDArray[np.bool_]) -> Estimate:
    """Return the mean of hits, bool (conditions, N), with an interval over the choice of images.

    The conditions of an image are not independent, so the interval comes from the fractions of each image.
    """
    per_image = hits.mean(axis=0)
    mean = float(per_image.mean())
    half = Z_95 * float(per_image.std()) / math.sqrt(len(per_image))
    return Estimate(value=mean, interval=(max(0.0, mean - half), min(1.0, mean + half)), num_images=len(per_image))
