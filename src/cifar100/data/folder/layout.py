"""A prepared data folder: its paths, its description and its packed arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import IMAGE_SIDE, INFO, DatasetInfo, read_info
from cifar100.data.folder.array_files import map_npy, read_npy
from cifar100.data.layouts.class_folders import has_class_folders
from cifar100.data.layouts.listing import Split as Split  # re-exported
from cifar100.data.layouts.recognition import CUSTOM_IMAGES, is_imported
from cifar100.data.layouts.tables import has_table
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import reason
from cifar100.process.memory import available_memory

SPLITS: tuple[Split, ...] = ("train", "test")


class DataFolder:
    """The paths inside a data folder. Reads nothing until asked.

    Custom images can be prepared at several sizes, whose arrays and descriptions lie beside each other: those of 32x32
    pixels in `packed/` and `root`, those of others in `packed/48/`. The images of a release are stored with 32x32
    pixels only; what is requested then has no effect.

    Args:
        root: the folder.
        image_size: side in pixels at which custom images are or will be prepared.
    """

    def __init__(self, root: Path, image_size: int = IMAGE_SIDE) -> None:
        self.root = root
        self.originals = root / "cifar-100-python"
        self._asked_size = image_size

    @property
    def image_size(self) -> int:
        """Side in pixels of the images in the arrays."""
        return self._asked_size if self.is_custom() else IMAGE_SIDE

    @property
    def packed(self) -> Path:
        """Folder of the arrays."""
        return self.root / "packed" / ("" if self.image_size == IMAGE_SIDE else str(self.image_size))

    @property
    def description_place(self) -> Path:
        """Folder of `dataset.json` and of the record of the preparation."""
        return self.root if self.image_size == IMAGE_SIDE else self.packed

    @property
    def info_file(self) -> Path:
        """The description of the data."""
        return self.description_place / INFO

    @property
    def info_name(self) -> str:
        """The same, relative to the root."""
        return self.info_file.relative_to(self.root).as_posix()

    @property
    def images(self) -> Path:
        """Folder to which the names of image files are relative: `root` if custom data lie there."""
        return self.root if self.is_custom() and not is_imported(self.root) else self.root / CUSTOM_IMAGES

    @property
    def images_prefix(self) -> str:
        """What precedes the name of an image file to make it relative to `root`; empty if the images lie there."""
        return "" if self.images == self.root else f"{CUSTOM_IMAGES}/"

    def csv(self, split: Split) -> Path:
        """The CSV file of a split of a release: file, fine_label, fine_name, superclass_label, superclass_name."""
        return self.images / f"{split}.csv"

    def packed_images(self, split: Split) -> Path:
        """The .npy file with uint8 (N, 3, S, S), where S is `image_size`."""
        return self.packed / f"{split}_images.npy"

    def packed_labels(self, split: Split) -> Path:
        """The .npy file with int64 (N,)."""
        return self.packed / f"{split}_labels.npy"

    def is_custom(self) -> bool:
        """Return whether this is custom data: a table, class folders, or images that were imported."""
        return has_table(self.root) or is_imported(self.root) or has_class_folders(self.root)

    def is_sound(self) -> bool:
        """Return whether `dataset.json` is there and can be read."""
        try:
            return bool(self.is_prepared() and self.info())
        except UserError:
            return False

    def is_prepared(self) -> bool:
        """Return whether preparation has finished. It writes `dataset.json` last."""
        return self.info_file.is_file()

    def describe_absence(self) -> str:
        """Return the beginning of a message about data that are not prepared here: the folder and what it lacks."""
        return f"{self.root.absolute()} {'holds no prepared data' if self.root.is_dir() else 'does not exist'}"

    def prepared_sizes(self) -> list[int]:
        """Return the sides in pixels at which images are prepared here, ascending."""
        others = [int(place.parent.name) for place in self.root.glob(f"packed/[0-9]*/{INFO}") if self.is_custom()]
        return sorted([*others, *([IMAGE_SIDE] if (self.root / INFO).is_file() else [])])

    def info(self) -> DatasetInfo:
        """Read `dataset.json`.

        Raises:
            UserError: the folder is not prepared, or the file is damaged.
        """
        if not self.is_prepared():
            raise UserError(
                f"{self.describe_absence()}; to prepare data, run: cifar100 prepare --root {as_argument(self.root)}"
            )
        return read_info(self.info_file)

    def present(self) -> DatasetInfo | None:
        """Return the facts about the prepared data; None if they are missing, damaged or were of another kind."""
        try:
            info = self.info() if self.is_prepared() else None
        except UserError:
            return None
        return None if info and self.is_custom() and info.origin != "custom" else info

    def how_to_prepare(self, info: DatasetInfo) -> str:
        """Return the command that prepares these data again."""
        sources = {"generated": "--source generated ", "altered": f"--source {as_argument(self.originals)} "}
        size = "" if self.image_size == IMAGE_SIDE else f" --image-size {self.image_size}"
        return f"cifar100 prepare {sources.get(info.origin, '')}--root {as_argument(self.root)}{size}"

    def load(self, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return images uint8 (N, 3, S, S) and labels int64 (N,) of a split, in memory if they fit; see `fits`.

        Raises:
            UserError: the arrays are missing, damaged or do not match `dataset.json`.
        """
        labels = self.load_labels(split)
        if self.fits(split):
            return self._checked_images(split, read_npy), labels
        return self.map_images(split), labels

    def fits(self, split: Split, *, copies: int = 1) -> bool:
        """Return whether the images of a split take at most half of the memory that is available.

        copies: number of processes on this machine that hold them at the same time.
        """
        available = available_memory()
        return available is None or copies * self.image_bytes(split) <= available / 2

    def image_bytes(self, split: Split) -> int:
        """Return the size of the images of a split in memory."""
        info = self.info()
        return (info.num_train if split == "train" else info.num_test) * 3 * info.image_size**2

    def map_images(self, split: Split) -> NDArray[np.uint8]:
        """Return the images of a split as a map of their file, uint8 (N, 3, S, S).

        Pages of the file are read when they are used, and all processes share them.

        Raises:
            UserError: as `load`.
        """
        return self._checked_images(split, map_npy)

    def _checked_images(self, split: Split, read: Callable[[Path], NDArray[Any]]) -> NDArray[np.uint8]:
        info = self.info()
        number = info.num_train if split == "train" else info.num_test
        images = self._read(split, self.packed_images(split), read)
        expected = (number, 3, info.image_size, info.image_size)
        if images.shape != expected or images.dtype != np.uint8:
            found = f"{self.packed_images(split)} holds {images.dtype} {images.shape}"
            raise UserError(f"{found}, expected uint8 {expected}; run: {self.how_to_prepare(info)}")
        return images

    def load_labels(self, split: Split) -> NDArray[np.int64]:
        """Return the labels of a split, int64 (N,), without its images.

        Raises:
            UserError: as `load`.
        """
        info = self.info()
        expected = info.num_train if split == "train" else info.num_test
        if expected == 0:
            raise UserError(f"{self.root} has no {split} split.")
        fix = f"run: {self.how_to_prepare(info)}"
        labels = self._read(split, self.packed_labels(split), read_npy)
        if labels.shape != (expected,) or labels.dtype != np.int64:
            found = f"{self.packed_labels(split)} holds {labels.dtype} {labels.shape}"
            raise UserError(f"{found}, expected int64 ({expected},); {fix}")
        if labels.min() < 0 or labels.max() >= info.num_classes:
            found = f"{self.packed_labels(split)} holds labels from {labels.min()} to {labels.max()}"
            raise UserError(f"{found}, expected 0 to {info.num_classes - 1}; {fix}")
        return labels

    def _read(self, split: Split, path: Path, read: Callable[[Path], NDArray[Any]]) -> NDArray[Any]:
        try:
            return read(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"the packed {split} arrays in {self.packed} cannot be read ({reason(error)}); run: "
                f"{self.how_to_prepare(self.info())}"
            ) from error
