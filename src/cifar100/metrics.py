"""The metrics: name -> function of logits and labels. Validation, `evaluate` and reports all use these.

A metric is a function of logits, float (N, num_classes), and labels, int64 (N,), that returns a value for each image,
float (N,). Its value over a data set is the mean. To add one, write the function and list it in `METRICS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image in nats, without label smoothing."""
    return F.cross_entropy(logits, labels, reduction="none")


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 for each image whose most probable class is its label, else 0."""
    return (logits.argmax(dim=1) == labels).float()


def top5_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 for each image whose label is among the five most probable classes, else 0."""
    top5 = logits.topk(min(5, logits.shape[1]), dim=1).indices  # (N, 5)
    return (top5 == labels[:, None]).any(dim=1).float()


def brier_score(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the squared distance of each image's probabilities from its label, 0 to 2 (Brier, 1950)."""
    return (logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1])).square().sum(dim=1)


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": loss,
    "accuracy": accuracy,
    "top5_accuracy": top5_accuracy,
}
"""Measured after every epoch and by `evaluate`."""

EVALUATION_METRICS = {"brier_score": brier_score}
"""Measured by `evaluate` only."""


_MIN_CLASSES = {"top5_accuracy": 6}
"""With fewer classes the metric is 1, whatever a network predicts."""


def says_something(name: str, num_classes: int) -> bool:
    """Return whether a metric depends on the predictions if there are so many classes; others are not reported."""
    return num_classes >= _MIN_CLASSES.get(name, 0)


def label(name: str) -> str:
    """Return a metric's name for people: `top-5 accuracy`."""
    names = {
        "precision": "macro precision",
        "recall": "macro recall",
        "f1_score": "macro F1 score",
        "brier_score": "Brier score",
    }
    return names.get(name, re.sub(r"^top(\d+)_", r"top-\1 ", name).replace("_", " "))


def text(name: str, value: float) -> str:
    """Return a metric's value for people: fractions of images as percentages, other metrics as numbers."""
    is_percentage = name.endswith("accuracy") or name in ("precision", "recall", "f1_score")
    return f"{value:.2%}" if is_percentage else f"{value:.4f}"
