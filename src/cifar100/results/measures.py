"""The figures of an evaluation, from logits and labels: each with its 95 % confidence interval and number of images.

An interval is over the choice of test images. It says nothing about another seed or other data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cifar100.metrics import EVALUATION_METRICS, METRICS, says_something

Z_95 = 1.959964
"""Quantile of the normal distribution that leaves 2.5 % on each side."""

NUM_RESAMPLES = 1000

_RANGES = {"loss": (0.0, math.inf), "brier_score": (0.0, 2.0)}
"""Possible values of a mean over the images, which its interval does not exceed. With few images it is wide."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its 95 % confidence interval."""

    value: float
    interval: tuple[float, float]
    num_images: int


@dataclass(frozen=True, kw_only=True)
class ClassMeasures:
    """How well one class is recognised. Fractions, 0 to 1."""

    precision: float
    """Fraction of right ones among the images predicted as this class; 0 if there are none."""

    recall: float
    """Fraction of this class's images that are recognised: the accuracy of the class."""

    f1_score: float
    """Harmonic mean of precision and recall."""

    num_images: int


def measure(
    logits: Tensor, labels: Tensor, *, num_classes: int, class_to_superclass: Sequence[int] = ()
) -> dict[str, Estimate]:
    """Return every metric of logits, float (N, num_classes), and labels, int64 (N,).

    The metrics of `cifar100.metrics` that say something with so many classes; `superclass_accuracy` if there are
    superclasses; and `precision`, `recall` and `f1_score`, the means over the classes that have images.
    """
    predicted = logits.argmax(dim=1)
    metrics = METRICS | EVALUATION_METRICS
    per_image = {name: metrics[name](logits, labels) for name in metrics if says_something(name, num_classes)}
    if class_to_superclass:
        superclass = torch.tensor(class_to_superclass)
        per_image["superclass_accuracy"] = (superclass[predicted] == superclass[labels]).float()
    figures = {name: _mean(name, values) for name, values in per_image.items()}
    accuracies = {name: figure for name, figure in figures.items() if name.endswith("accuracy")}
    return accuracies | _macro_averages(labels.numpy(), predicted.numpy(), num_classes) | figures


def fraction(correct: int, total: int) -> Estimate:
    """Return a fraction with its Wilson score interval (Wilson, 1927), which stays within 0 and 1."""
    value = correct / total
    centre = (value + Z_95**2 / (2 * total)) / (1 + Z_95**2 / total)
    half = Z_95 / (1 + Z_95**2 / total) * math.sqrt(value * (1 - value) / total + Z_95**2 / (4 * total * total))
    low = centre - half if correct > 0 else 0.0  # exactly, without the rounding error
    high = centre + half if correct < total else 1.0
    return Estimate(value=value, interval=(low, high), num_images=total)


def confusion_matrix(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Return the number of images of each label (row) that got each prediction (column), int64 (C, C)."""
    pairs = labels * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def precision_recall_f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return precision, recall and F1 of each class, float64 (3, C), from counts (C, C); 0 where nothing is counted."""
    hits = np.diagonal(confusion).astype(np.float64)
    predicted, present = confusion.sum(axis=0), confusion.sum(axis=1)
    return np.stack(
        [
            hits / np.maximum(predicted, 1),
            hits / np.maximum(present, 1),
            2 * hits / np.maximum(predicted + present, 1),
        ]
    )


def class_measures(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], class_names: Sequence[str]
) -> dict[str, ClassMeasures]:
    """Return the measures by class name; classes without images are left out."""
    confusion = confusion_matrix(labels, predicted, len(class_names))
    counts = confusion.sum(axis=1)
    columns = zip(class_names, precision_recall_f1(confusion).T.tolist(), counts.tolist(), strict=True)
    return {
        name: ClassMeasures(precision=precision, recall=recall, f1_score=f1_score, num_images=count)
        for name, (precision, recall, f1_score), count in columns
        if count > 0
    }


def _mean(name: str, values: Tensor) -> Estimate:
    """Return the mean over the images: Wilson's interval for an accuracy, the central limit theorem's otherwise."""
    if name.endswith("accuracy"):
        return fraction(round(values.double().sum().item()), len(values))
    mean = values.double().mean().item()
    half = Z_95 * values.double().std(correction=0).item() / math.sqrt(len(values))
    lowest, highest = _RANGES.get(name, (-math.inf, math.inf))
    interval = max(mean - half, lowest), min(mean + half, highest)
    return Estimate(value=mean, interval=interval, num_images=len(values))


def _macro_averages(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> dict[str, Estimate]:
    """Return macro precision, recall and F1 with percentile bootstrap intervals (Efron, 1979)."""
    from scipy import stats  # takes half a second to import

    def macro(pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        confusion = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
        means: NDArray[np.float64] = precision_recall_f1(confusion)[:, confusion.sum(axis=1) > 0].mean(axis=1)
        return means

    pairs = labels * num_classes + predicted
    names, values = ("precision", "recall", "f1_score"), macro(pairs)
    if len(pairs) == 1:  # one image has no resamples, and says next to nothing
        return {
            name: Estimate(value=float(value), interval=(0.0, 1.0), num_images=1)
            for name, value in zip(names, values, strict=True)
        }
    interval = stats.bootstrap(
        (pairs,),
        macro,
        vectorized=False,
        method="percentile",
        n_resamples=NUM_RESAMPLES,
        batch=50,  # at once; each holds N positions
        rng=np.random.Generator(np.random.PCG64(0)),
    ).confidence_interval
    return {
        name: Estimate(value=float(value), interval=(float(low), float(high)), num_images=len(pairs))
        for name, value, low, high in zip(names, values, interval.low, interval.high, strict=True)
    }
