"""Measure a trained network on one split of its data, or of other data of the same classes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from rich.progress import track
from torch import Tensor

from cifar100.config.arguments import check_choice, check_flag
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, write_json
from cifar100.metrics import METRICS
from cifar100.models import NetworkSource
from cifar100.results.evaluation_data import images_of
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork, load_trained
from cifar100.terminal import console, warn

BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metrics of one set of logits."""

    metrics: dict[str, float]
    """The mean of each metric of `cifar100.metrics.METRICS`. Accuracies are fractions, 0 to 1."""

    top1_interval: tuple[float, float]
    """95 % confidence interval of the accuracy over the choice of images (Wilson score interval)."""

    @property
    def top1(self) -> float:
        """The accuracy, 0 to 1."""
        return self.metrics["accuracy"]

    @property
    def top5(self) -> float:
        """The top-5 accuracy, 0 to 1."""
        return self.metrics["top5_accuracy"]

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing."""
        return self.metrics["loss"]


@dataclass(frozen=True, kw_only=True)
class Evaluation(Measurement):
    """The performance of a trained network on one split. Written as `evaluation_<split>.json`."""

    run: str
    checkpoint: str
    epoch: int
    averaged: bool
    """Whether the weights are the moving average of the trained ones."""

    data: str
    split: str
    num_images: int
    superclass: float | None
    """Fraction of images whose predicted class has the right superclass; None without superclasses."""

    per_class: dict[str, float]
    """Accuracy by class name; classes without images are left out."""

    flip_tta: Measurement | None = None
    """Flip test-time augmentation: the mean logits of each image and its mirror image; None unless asked for.

    It needs twice the computation, so its metrics are always reported separately."""


def evaluate(
    run: RunFolder,
    *,
    split: Literal["test", "validation"],
    checkpoint: str | PathLike[str],
    flip_tta: bool = False,
    network: NetworkSource | None = None,
    data_root: Path | None = None,
) -> Evaluation:
    """Measure a run's network and write `evaluation_<split>.json` into the run folder, with a warning if that fails.

    Args:
        run: the run folder.
        split: `test`, or the run's own `validation` images.
        checkpoint: `best`, `last` or a path.
        flip_tta: also measure with flip test-time augmentation.
        network: see `load_trained`.
        data_root: data folder to measure on, whatever it holds; a line says what differs from the data of the run.
            None: that of the run, which must hold the same images.

    Raises:
        UserError: the run or its data are missing, damaged or have changed.
    """
    check_choice("split", split, ("test", "validation"))
    check_flag("flip_tta", flip_tta)
    trained = load_trained(run, checkpoint, network=network)
    images, labels, data = images_of(trained, run, split=split, data_root=data_root)
    pixels, truth = torch.from_numpy(images), torch.from_numpy(labels)
    logits = _all_logits(trained, pixels)
    evaluation = replace(describe(logits, truth, trained, run=run, split=split), data=data.describe())
    if flip_tta:
        # The mean of logits, not of probabilities, gives a confident view more weight; common in speed records.
        mean = (logits + _all_logits(trained, pixels.flip(3))) / 2
        evaluation = replace(evaluation, flip_tta=measure(mean, truth))
    _save(evaluation, run)
    return evaluation


def _save(evaluation: Evaluation, run: RunFolder) -> None:
    """Write the result into the run folder. If that is impossible, the figures are still worth showing."""
    remove_partial_files(run.path)
    try:
        write_json(asdict(evaluation), run.evaluation(evaluation.split))
    except UserError as error:
        warn(str(error))


def measure(logits: Tensor, labels: Tensor) -> Measurement:
    """Compute all metrics of logits, float (N, num_classes), and labels, int64 (N,)."""
    metrics = {name: metric(logits, labels).double().mean().item() for name, metric in METRICS.items()}
    correct = round(metrics["accuracy"] * len(labels))
    return Measurement(metrics=metrics, top1_interval=wilson_interval(correct, len(labels)))


def describe(logits: Tensor, labels: Tensor, trained: TrainedNetwork, *, run: RunFolder, split: str) -> Evaluation:
    """Return the evaluation of logits, float (N, num_classes), against labels, int64 (N,)."""
    measurement = measure(logits, labels)
    info, predicted = trained.info, logits.argmax(dim=1)
    superclass = None
    if info.class_to_superclass:
        to_superclass = torch.tensor(info.class_to_superclass)
        superclass = (to_superclass[predicted] == to_superclass[labels]).float().mean().item()
    return Evaluation(
        metrics=measurement.metrics,
        top1_interval=measurement.top1_interval,
        run=run.name,
        checkpoint=str(trained.checkpoint),
        epoch=trained.epoch,
        averaged=trained.averaged,
        data=info.describe(),
        split=split,
        num_images=len(labels),
        superclass=superclass,
        per_class=_per_class(predicted, labels, info.class_names),
    )


def wilson_interval(correct: int, total: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % confidence interval of a fraction (Wilson, 1927); it stays within 0 and 1."""
    fraction = correct / total
    centre = (fraction + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(fraction * (1 - fraction) / total + z * z / (4 * total * total))
    return centre - half, centre + half


def _all_logits(trained: TrainedNetwork, images: Tensor) -> Tensor:
    target = console(stderr=True)
    starts = range(0, len(images), BATCH_SIZE)
    shown = track(starts, "evaluating", console=target, transient=True, disable=not target.is_terminal)
    return torch.cat([trained.logits(images[start : start + BATCH_SIZE]).cpu() for start in shown])


def _per_class(predicted: Tensor, labels: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    totals = torch.bincount(labels, minlength=len(names))
    hits = torch.bincount(labels[predicted == labels], minlength=len(names))
    return {
        name: hits[index].item() / totals[index].item() for index, name in enumerate(names) if totals[index].item() > 0
    }
