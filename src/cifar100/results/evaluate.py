"""Measure a trained network. This is the only place that opens the test split."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from cifar100.atomic_files import write_json
from cifar100.data.folder.layout import DataFolder, DatasetInfo
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork, load_trained

BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class FlipAveraged:
    """What the mean logits of an image and of its mirror image give: twice the arithmetic, so always told apart."""

    top1: float
    top1_interval: tuple[float, float]
    top5: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a trained network does on one split. Accuracies are shares, 0 to 1."""

    run: str
    checkpoint: str
    epoch: int
    averaged: bool
    """Whether the weights are the moving average of the trained ones."""

    data: str
    split: str
    num_images: int
    top1: float
    top1_interval: tuple[float, float]
    """95 % confidence interval of `top1` over the choice of images (Wilson score interval)."""

    top5: float
    loss: float
    """Mean cross-entropy in nats, without label smoothing."""

    superclass: float | None
    """Share of images whose predicted class lies in the right superclass; None without superclasses."""

    per_class: dict[str, float]
    """Class name to the share of its images that were recognised."""

    flip_tta: FlipAveraged | None = None
    """The same figures with flip test-time augmentation; None unless asked for."""


def evaluate(
    run: RunFolder, *, split: Literal["test", "validation"], checkpoint: str, flip_tta: bool = False
) -> Evaluation:
    """Measure a run's network and write `evaluation_<split>.json` into the run folder.

    Args:
        run: the run folder.
        split: `test`, or the run's own `validation` images.
        checkpoint: `best`, `last` or a path.
        flip_tta: measure with flip test-time augmentation, too.

    Raises:
        UserError: the run or its data are missing, damaged or have changed.
    """
    trained = load_trained(run, checkpoint)
    images, labels = _images(trained, run, split)
    pixels, truth = torch.from_numpy(images), torch.from_numpy(labels)
    logits = _all_logits(trained, pixels)
    evaluation = measure(logits, truth, trained.info, run=run, trained=trained, split=split)
    if flip_tta:
        # Logits, not probabilities: where one of the two views is sure, it then weighs more; usual in the speed runs.
        mean = (logits + _all_logits(trained, pixels.flip(3))) / 2
        evaluation = replace(evaluation, flip_tta=measure_flip_tta(mean, truth))
    write_json(asdict(evaluation), run.evaluation(split))
    return evaluation


def measure(
    logits: Tensor, labels: Tensor, info: DatasetInfo, *, run: RunFolder, trained: TrainedNetwork, split: str
) -> Evaluation:
    """Compute all figures from logits float (N, C) and labels int64 (N,)."""
    ranked = logits.topk(min(5, logits.shape[1])).indices  # (N, 5)
    hits = ranked == labels[:, None]
    predicted = ranked[:, 0]
    superclass = None
    if info.class_to_superclass:
        to_superclass = torch.tensor(info.class_to_superclass)
        superclass = (to_superclass[predicted] == to_superclass[labels]).float().mean().item()
    correct = int(hits[:, 0].sum())
    return Evaluation(
        run=run.name,
        checkpoint=str(trained.checkpoint),
        epoch=trained.epoch,
        averaged=trained.averaged,
        data=info.describe(),
        split=split,
        num_images=len(labels),
        top1=correct / len(labels),
        top1_interval=wilson_interval(correct, len(labels)),
        top5=hits.any(dim=1).float().mean().item(),
        loss=F.cross_entropy(logits, labels).item(),
        superclass=superclass,
        per_class=_per_class(predicted, labels, info.class_names),
    )


def measure_flip_tta(logits: Tensor, labels: Tensor) -> FlipAveraged:
    """Compute the figures from mean logits float (N, C) and labels int64 (N,)."""
    hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
    correct = int(hits[:, 0].sum())
    return FlipAveraged(
        top1=correct / len(labels),
        top1_interval=wilson_interval(correct, len(labels)),
        top5=hits.any(dim=1).float().mean().item(),
        loss=F.cross_entropy(logits, labels).item(),
    )


def wilson_interval(correct: int, total: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share (Wilson, 1927); it stays within 0 and 1."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return centre - half, centre + half


def show_evaluation(evaluation: Evaluation) -> None:
    """Print the figures, and the classes that are recognised best and worst."""
    low, high = evaluation.top1_interval
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_row("data", evaluation.data)
    table.add_row("images", f"{evaluation.num_images:,}, {evaluation.split}")
    table.add_row("weights", f"{evaluation.checkpoint}, epoch {evaluation.epoch}" + ", averaged" * evaluation.averaged)
    table.add_row("top-1 accuracy", f"[bold]{evaluation.top1:.2%}[/]  (95 % interval {low:.2%} to {high:.2%})")
    table.add_row("top-5 accuracy", f"{evaluation.top5:.2%}")
    if evaluation.superclass is not None:
        table.add_row("superclass accuracy", f"{evaluation.superclass:.2%}")
    table.add_row("loss", f"{evaluation.loss:.4f}")
    augmented = evaluation.flip_tta
    if augmented is not None:
        low, high = augmented.top1_interval
        table.add_row("with flip TTA", f"top-1 {augmented.top1:.2%}  (95 % interval {low:.2%} to {high:.2%})")
        table.add_row("", f"top-5 {augmented.top5:.2%}, loss {augmented.loss:.4f}; test-time augmentation")
    ordered = sorted(evaluation.per_class.items(), key=lambda item: item[1], reverse=True)
    table.add_row("best classes", ", ".join(f"{name} {share:.0%}" for name, share in ordered[:3]))
    table.add_row("worst classes", ", ".join(f"{name} {share:.0%}" for name, share in ordered[:-4:-1]))
    Console(highlight=False).print(table)


def _images(trained: TrainedNetwork, run: RunFolder, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    folder = DataFolder(trained.config.data.root)
    part: Literal["train", "test"] = "test" if split == "test" else "train"
    if not folder.is_prepared():
        generated = " --source generated" if trained.info.origin == "generated" else ""
        mend = f"prepare it again: cifar100 prepare{generated} --root {folder.root}"
        raise UserError(
            f"{folder.root.absolute()} holds no prepared data; the run was trained on {trained.info.describe()}. "
            f"Change to the folder where it was trained, or {mend}"
        )
    if folder.info().sha256.get(part) != trained.info.sha256.get(part):
        raise UserError(f"the {part} images in {folder.root} are not those of the run {run.path}; prepare them again.")
    if split == "test":
        return folder.load("test")
    indices = load_split(run.split).validation
    if len(indices) == 0:
        raise UserError(f"{run.path} was trained on all training images; it has no validation images.")
    images, labels = folder.load("train")
    return images[indices], labels[indices]


def _all_logits(trained: TrainedNetwork, images: Tensor) -> Tensor:
    console = Console(stderr=True)
    starts = range(0, len(images), BATCH_SIZE)
    shown = track(starts, "evaluating", console=console, transient=True, disable=not console.is_terminal)
    return torch.cat([trained.logits(images[start : start + BATCH_SIZE]).cpu() for start in shown])


def _per_class(predicted: Tensor, labels: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    totals = torch.bincount(labels, minlength=len(names))
    hits = torch.bincount(labels[predicted == labels], minlength=len(names))
    return {
        name: hits[index].item() / totals[index].item() for index, name in enumerate(names) if totals[index].item() > 0
    }
