"""The images that were measured, and the names of their files. The data folder may have moved or changed since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cifar100.data.audit.images import image_files
from cifar100.data.folder.image_files import thumbnail
from cifar100.data.folder.layout import DataFolder, Split
from cifar100.data.folder.splits import load_split
from cifar100.data.packed_arrays import content_sha256
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.results.evaluation_data import images_of, recorded_training
from cifar100.results.report.facts import RunFacts
from cifar100.results.report.measured import Measured
from cifar100.results.report.rendering.inline import png_uri
from cifar100.runs.folder import RunFolder

PICTURE_SIDE, THUMBNAIL_SIDE = 96, 48
"""Pixels to which larger custom images are reduced: about the sizes in which the page shows the top losses and the
confused pairs. With 200 images of any content, it stays below 5 MB."""

DIMMED = 0.2
"""Brightness of what did not matter for a prediction."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The images of an evaluation."""

    images: NDArray[np.uint8]
    """(N, 3, S, S)."""

    files: list[str]
    """Relative to the folder of the images; of each image."""

    def picture(self, index: int) -> Markup:
        """Return an image as a data URI."""
        return _uri(self.images[index], PICTURE_SIDE)

    def small_picture(self, index: int) -> Markup:
        """Return an image that is shown beside others of its kind, as a data URI."""
        return _uri(self.images[index], THUMBNAIL_SIDE)

    def spotlit(self, index: int, attention: NDArray[np.float32]) -> Markup:
        """Return an image in which only what mattered is bright, as a data URI. attention: (H, W), 0 to 1."""
        return _uri(spotlit(self.images[index], attention).transpose(2, 0, 1), PICTURE_SIDE)


def spotlit(image: NDArray[np.uint8], attention: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the pixels, uint8 (H, W, 3), of an image in which only what mattered is bright.

    Args:
        image: uint8 (3, H, W).
        attention: (H, W), 0 to 1.
    """
    brightness = DIMMED + (1 - DIMMED) * attention
    pixels: NDArray[np.uint8] = (image * brightness).round().astype(np.uint8).transpose(1, 2, 0)
    return pixels


def _uri(image: NDArray[np.uint8], max_side: int) -> Markup:
    return png_uri(thumbnail(image, max_side).transpose(1, 2, 0))


def read_pictures(facts: RunFacts, measured: Measured) -> Pictures:
    """Return the images of an evaluation.

    Raises:
        UserError: they are missing, or others than those that were measured.
    """
    run = facts.run
    if facts.combined is not None and facts.is_ensemble:  # its members were measured on the same images
        run = RunFolder(Path(facts.combined.members[0].path))
    training = recorded_training(run)
    images, labels, data = images_of(training, run, split=measured.split)
    folder = DataFolder(user_path(training.config.data.root), training.info.image_size)
    if content_sha256(images, labels, data) != measured.content["images_sha256"]:
        raise UserError(f"{facts.run.path} was measured on other {measured.split} images than those in {folder.root}.")
    return Pictures(images=images, files=_files(run, measured, folder))


def _files(run: RunFolder, measured: Measured, folder: DataFolder) -> list[str]:
    part: Split = "test" if measured.split == "test" else "train"
    files = image_files(folder, folder.load_labels(part), split=part)
    if measured.split == "validation":
        return [files[position] for position in load_split(run.split).validation]
    return files
