"""The optional parts of an evaluation: what was asked for, checked before the network runs; then its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import IMAGE_SIDE, DatasetInfo
from cifar100.data.description import OFFICIAL_SHA256
from cifar100.data.sources.published_lists import (
    DUPLICATES,
    LABEL_ERRORS,
    ListFile,
    PublishedList,
    read_custom,
    read_published,
)
from cifar100.errors import UserError
from cifar100.results.robustness.corruption_files import CorruptionFiles
from cifar100.results.robustness.corruptions import CorruptedImages, CorruptionFigures, Images, measure_corruptions
from cifar100.results.robustness.duplicates import DuplicateFigures, measure_duplicates, read_duplicates
from cifar100.results.robustness.label_errors import (
    LabelErrorFigures,
    LabelErrors,
    measure_label_errors,
    read_label_errors,
)

GENERATED = Path("generated")
"""Stands for corruptions that are generated. Give a folder of this name by its absolute path."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What was asked for."""

    fair: bool = False
    """Whether to measure without near-duplicates; see `duplicates`."""

    duplicates: Path | None = None
    """A list of near-duplicates in the form of ciFAIR's. It implies `fair`; None: ciFAIR's list."""

    corrected: bool = False
    """Whether to measure with corrected labels; see `label_errors`."""

    label_errors: Path | None = None
    """A list of label errors in the form of cleanlab's. It implies `corrected`; None: cleanlab's list."""

    corruptions: Path | None = None
    """The folder of CIFAR-100-C, or `GENERATED`."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """The figures of the optional parts; None for what was not asked for."""

    duplicates: DuplicateFigures | None = None
    label_errors: LabelErrorFigures | None = None
    corruptions: CorruptionFigures | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The images that are measured, and their data set."""

    images: Images
    """uint8 (N, 3, S, S)."""

    labels: NDArray[np.int64]
    split: Literal["test", "validation"]
    data: DatasetInfo
    root: Path
    """The data folder, which keeps the downloaded lists."""

    trained_on: DatasetInfo


class PreparedParts:
    """The lists and files of the parts, all read or checked.

    Raises:
        UserError: a list or file is missing or damaged, or does not fit the images.
    """

    def __init__(self, parts: Parts, measured: Measured) -> None:
        self._labels = measured.labels
        self._duplicates: tuple[ListFile, NDArray[np.int64]] | None = None
        self._errors: tuple[ListFile, LabelErrors] | None = None
        self._corruptions: CorruptedImages | None = None
        if parts.fair or parts.duplicates is not None:
            source = _read_list(DUPLICATES, parts.duplicates, measured, option="--fair")
            _check_training_data(source, measured)
            info = measured.data
            self._duplicates = source, read_duplicates(source, num_train=info.num_train, num_test=info.num_test)
        if parts.corrected or parts.label_errors is not None:
            source = _read_list(LABEL_ERRORS, parts.label_errors, measured, option="--corrected")
            num_classes = measured.data.num_classes
            self._errors = source, read_label_errors(source, measured.labels, num_classes=num_classes)
        if parts.corruptions is not None:
            self._corruptions = _corrupted_images(parts.corruptions, measured)

    def measure(
        self, predicted: NDArray[np.int64], predict: Callable[[Images], NDArray[np.int64]]
    ) -> Robustness | None:
        """Return the figures; None if nothing was asked for.

        Args:
            predicted: predicted labels of the images, int64 (N,).
            predict: maps other images, uint8 (B, 3, S, S), to predicted labels, int64 (B,).
        """
        duplicates = label_errors = corruptions = None
        if self._duplicates is not None:
            source, judgments = self._duplicates
            duplicates = measure_duplicates(predicted, self._labels, judgments, source=source)
        if self._errors is not None:
            source, errors = self._errors
            label_errors = measure_label_errors(predicted, self._labels, errors, source=source)
        if self._corruptions is not None:
            corruptions = measure_corruptions(self._corruptions, self._labels, predict)
        if duplicates is None and label_errors is None and corruptions is None:
            return None
        return Robustness(duplicates=duplicates, label_errors=label_errors, corruptions=corruptions)


def _read_list(published: PublishedList, custom: Path | None, measured: Measured, *, option: str) -> ListFile:
    """Return a list about the test images; a published one only for the official images."""
    _refuse_validation(option if custom is None else published.option, measured)
    is_official = measured.data.sha256.get("test") == OFFICIAL_SHA256["test"]
    source = read_custom(published, custom) if custom is not None else None
    if not is_official and (source is None or source.is_published):
        raise UserError(
            f"{measured.root} holds {measured.data.describe()}, but {published.title} is about CIFAR-100's official "
            f"test images; pass these with --data.root, or a list for these data with {published.option} FILE."
        )
    return source or read_published(published, measured.root)


def _check_training_data(source: ListFile, measured: Measured) -> None:
    """Refuse ciFAIR's list for a network that has not seen the images that the list compares with."""
    if source.is_published and measured.trained_on.sha256.get("train") != OFFICIAL_SHA256["train"]:
        raise UserError(
            f"the run was trained on {measured.trained_on.describe()}, but {source.title} compares with the official "
            "training images of CIFAR-100; leave out --fair, or pass a list for these data with --duplicates FILE."
        )


def _corrupted_images(place: Path, measured: Measured) -> CorruptedImages:
    if place == GENERATED:
        from cifar100.results.robustness.generated_corruptions import GeneratedCorruptions  # imports Albumentations

        return GeneratedCorruptions(measured.images)
    _refuse_validation("--corruptions DIR", measured)
    if measured.data.image_size != IMAGE_SIDE:
        raise UserError(
            f"--corruptions {place}: the files hold images of {IMAGE_SIDE}x{IMAGE_SIDE} pixels, but the network was "
            f"trained on {measured.data.image_size}x{measured.data.image_size}; use --corruptions {GENERATED}."
        )
    return CorruptionFiles(place, measured.labels)


def _refuse_validation(option: str, measured: Measured) -> None:
    if measured.split != "test":
        raise UserError(f"{option} needs the test images, but --split is {measured.split}; leave out one of them.")
