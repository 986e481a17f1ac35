"""Classify any image file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cifar100.data.folder.image_files import to_rgb
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork, load_trained

IMAGE_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class ClassProbability:
    """One class that an image may belong to."""

    name: str
    probability: float
    superclass: str | None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the network says of one image, the most probable class first."""

    image: str
    classes: list[ClassProbability]


def predict(run: RunFolder, images: Sequence[Path], *, top: int, checkpoint: str) -> list[Prediction]:
    """Classify image files.

    Args:
        run: the run folder.
        images: files of any size, mode and format that Pillow reads.
        top: classes to return for each image.
        checkpoint: `best`, `last` or a path.

    Raises:
        UserError: a file is no image, or the run is missing or damaged.
    """
    if top < 1:
        raise UserError(f"--top is {top}, but it must be at least 1.")
    pixels = torch.stack([load_image(image) for image in images])
    trained = load_trained(run, checkpoint)
    probabilities = trained.logits(pixels).softmax(dim=1).cpu()
    return [
        Prediction(image=str(image), classes=_most_probable(row, trained, top))
        for image, row in zip(images, probabilities, strict=True)
    ]


def load_image(path: Path) -> Tensor:
    """Read an image as the network wants it, uint8 (3, 32, 32).

    EXIF rotation is applied, transparency laid on white, the shorter side scaled to 32 pixels and the middle cut out.

    Raises:
        UserError: the file is missing, is no image, or is too large.
    """
    try:
        with warnings.catch_warnings():
            # Above half its limit of 179 million pixels Pillow only warns; phones take such pictures.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            upright = ImageOps.exif_transpose(image)
            square = ImageOps.fit(to_rgb(upright), (IMAGE_SIZE, IMAGE_SIZE), method=Image.Resampling.BICUBIC)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}.") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; scale it down.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}).") from error
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """Print a table for each image."""
    console = Console(highlight=False)
    for prediction in predictions:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for entry in prediction.classes:
            bar = "█" * max(1, round(30 * entry.probability))
            table.add_row(f"  {entry.probability:7.2%}", entry.name, f"[dim]{entry.superclass or ''}[/]", bar)
        console.print(prediction.image, style="bold", markup=False)
        console.print(table)


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
