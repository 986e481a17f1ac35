"""The pictures that a run leaves: its learning curves and its first training batch. They are drawn at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray
from torch import Tensor

from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.foreign_text import printable, reason
from cifar100.plots.image_grid import image_grid, shortened
from cifar100.plots.learning_curves import learning_curves
from cifar100.plots.style import Pixels, render, write_png
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
from cifar100.runs.status import FolderWatch
from cifar100.terminal import warn
from cifar100.training.experiment import Experiment
from cifar100.training.reporting.loggers import log_image

MAX_IMAGES = 64

MAX_BYTES = 64 * 2**20
"""Memory of the host for the images; 64 of 224 x 224 pixels take 39 MB."""

CHARACTERS_OF_A_LINE = 18
"""Of a label; a longer one is broken."""

NAMED_FROM = 0.05
"""Smallest fraction of a mixed label that is named; label smoothing gives every class a little."""


class FirstBatch(Callback):
    """Keeps the first images of the first training batch of this process, as the network gets them.

    Costs one copy in the whole run. On a GPU it is enqueued before the operations of the first step, into memory of
    the host, and the host does not wait for it: it is complete long before the end of the run, when it is read.

    Args:
        enabled: False if an earlier part of the run has left the picture.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self.images: Tensor | None = None
        self.labels: Tensor | None = None
        self.num_images = self.step = self.epoch = 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Copy the images and labels."""
        if not self.enabled or not trainer.is_global_zero:
            return
        self.enabled = False
        images, labels = batch
        count = min(MAX_IMAGES, max(1, MAX_BYTES // max(1, images[0].nbytes)))
        self.images, self.labels = (
            rows[:count].detach().to("cpu", non_blocking=True, copy=True) for rows in (images, labels)
        )
        self.num_images, self.step, self.epoch = len(images), trainer.global_step + 1, trainer.current_epoch + 1


class Pictures:
    """The pictures of a run. A failure is one warning for each picture, and ends no run.

    Args:
        run: its folder.
        experiment: its parts.
        history: its epochs.
    """

    def __init__(self, run: RunFolder, experiment: Experiment, history: History) -> None:
        self.run = run
        self.experiment = experiment
        self.history = history
        trains_on_images = experiment.module.classifier is None
        self.first_batch = FirstBatch(enabled=trains_on_images and not run.train_batch.is_file())
        self._folder = FolderWatch(run)

    def draw(self, loggers: Sequence[Logger]) -> list[str]:
        """Draw the pictures, the batch also for TensorBoard. Call it on rank 0. Takes one to two seconds.

        Returns: the names of the files of both kinds that the folder has now.
        """
        if not self._folder.is_same():
            return []
        if self.history.epochs:
            self._attempt(self.run.learning_curves, self._draw_curves)
        if self.first_batch.images is not None:
            self._attempt(self.run.train_batch, lambda path: self._draw_batch(path, loggers))
        return [path.name for path in (self.run.learning_curves, self.run.train_batch) if path.is_file()]

    def _attempt(self, path: Path, draw: Callable[[Path], None]) -> None:
        try:
            draw(path)
        except Exception as error:  # custom data may have images and labels of any kind, and the disk may be full
            warn(f"{path} cannot be drawn ({reason(error)}); the run is complete without it.")

    def _draw_curves(self, path: Path) -> None:
        write_png(render(learning_curves(self.history.epochs, title=self._title())), path)

    def _draw_batch(self, path: Path, loggers: Sequence[Logger]) -> None:
        pixels = self._batch_pixels()
        write_png(pixels, path)
        log_image(loggers, "train/first_batch", pixels, step=self.first_batch.step - 1)

    def _batch_pixels(self) -> Pixels:
        batch = self.first_batch
        assert batch.images is not None
        assert batch.labels is not None
        images, note = displayable(batch.images, self._normalization())
        height, width = images.shape[1:3]
        shown = f"{len(images)} of {batch.num_images}" if len(images) < batch.num_images else f"{len(images)}"
        facts = [
            f"{shown} image{'s' * (batch.num_images > 1)}",
            f"{width} x {height} pixels",
            f"epoch {batch.epoch}",
            *note,
        ]
        labels = [label_text(label, self.experiment.info.class_names) for label in batch.labels]
        title = f"Training batch of step {batch.step:,}, as the network saw it"
        return render(image_grid(images, labels, title=title, subtitle=f"{self._title()}: {', '.join(facts)}"))

    def _title(self) -> str:
        return printable(f"{self.run.name}, {self.experiment.info.name}", max_length=100)

    def _normalization(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Return mean and standard deviation of the channels; None for a custom data module that gives none."""
        source = self.experiment.data
        if isinstance(source, CifarDataModule):
            return source.mean, source.std
        settings = self.experiment.config.data
        return None if settings.mean is None or settings.std is None else (settings.mean, settings.std)


def displayable(
    images: Tensor, normalization: tuple[Sequence[float], Sequence[float]] | None
) -> tuple[NDArray[np.uint8], list[str]]:
    """Undo the normalisation. Returns uint8 (N, H, W, 3), and what else was done to show the images.

    images: (N, C, H, W) of any type. One channel is shown in grey; of other numbers than three, the first three or the
    first. If the normalisation is unknown, values in 0..1 are shown as they are, and others between their extremes.
    """
    note = []
    if images.shape[1] not in (1, 3):
        kept = 3 if images.shape[1] > 3 else 1
        note.append(f"channels 1 to {kept} of {images.shape[1]}" if kept > 1 else f"channel 1 of {images.shape[1]}")
        images = images[:, :kept]
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    if normalization is not None and images.shape[1] == 3 and images.dtype != torch.uint8:
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in normalization)
        pixels = pixels * std + mean
    elif pixels.min() < 0 or pixels.max() > 1:
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) / (high - low)
        note.append("brightness stretched")
    levels = (pixels.nan_to_num() * 255).round().clamp(0, 255).to(torch.uint8)
    shown: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous().numpy()
    return shown, note


def label_text(label: Tensor, names: Sequence[str]) -> str:
    """Return a class name, or the largest two parts of a mixed label: `cat 0.7 / dog 0.3`, in two lines if it is long.

    label: int64 (), or probabilities, float (num_classes,).
    """
    if label.ndim == 0:
        return _name(names, int(label))
    values, classes = label.float().topk(min(2, len(label)))
    fractions = zip(classes.tolist(), values.tolist(), strict=True)
    parts = [(_name(names, index), value) for index, value in fractions if value >= NAMED_FROM]
    if len(parts) == 1:
        return parts[0][0]
    described = [f"{name} {round(value, 2):g}" for name, value in parts]
    joined = " / ".join(described)
    return joined if len(joined) <= CHARACTERS_OF_A_LINE else " /\n".join(described)


def _name(names: Sequence[str], index: int) -> str:
    with suppress(IndexError):
        return shortened(printable(names[index]))
    return f"class {index}"
