"""Prepare custom data of any layout: image files of many formats and any size, and their labels.

The images are not changed; the packed arrays and `dataset.json` are written next to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.data.decoding.decode import IMAGE_SIDE
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.layout import (
    CHANNELS,
    DataFolder,
    DatasetInfo,
    Split,
    channel_statistics,
    content_sha256,
    remove_packed,
    write_info,
    write_packed,
)
from cifar100.data.folder.record import INFO, begin_record, stamps_of, write_record
from cifar100.data.layouts.importing import read_origin
from cifar100.data.layouts.listing import Listing, Row
from cifar100.data.layouts.reading import SKIPPED, read_listing, write_skipped
from cifar100.data.layouts.recognition import is_imported
from cifar100.errors import UserError
from cifar100.files.atomic import writing_below
from cifar100.long_steps import progress
from cifar100.terminal import say, warn

_NUM_NAMED = 10
"""Damaged images that are named, one a line."""

_HOW_TO_SKIP = "Leave out damaged images with --data.skip_damaged true (prepare: --skip-damaged)."


def prepare_custom(root: Path, *, skip_damaged: bool = False) -> DatasetInfo:
    """List and read all images in `root`, and write packed arrays and `dataset.json`.

    skip_damaged: leave out images that cannot be read, and list them in `skipped_images.csv`.

    Raises:
        UserError: a table or an image is wrong (the message names file and line), or `root` cannot be written.
    """
    folder = DataFolder(root)
    listing = read_listing(folder, with_skipped=True)
    if not is_imported(root):
        say(f"{root}: {listing.describe()}")
    images_folder = folder.images
    stamps = stamps_of(root, recorded_files(folder, listing))  # before the images are read
    damaged: dict[str, str] = {}
    images = {
        split: _read_images(rows, images_folder, split=split, damaged=damaged if skip_damaged else None)
        for split, rows in listing.rows.items()
    }
    if damaged:
        listing = listing.without(damaged.keys())
        images = {split: images[split] for split in listing.rows}
        _say_damaged(root, damaged)
    name = read_origin(root).name if is_imported(root) else root.resolve().name
    info = _describe_data(listing, images, name=name)
    if info.constant_channels == CHANNELS:
        raise UserError(
            f"{root}: all training images have one and the same colour, from which nothing can be learned; check the "
            "training images."
        )
    with writing_below(root):
        begin_record(root)
        for split in listing.rows:
            write_packed(images[split], listing.labels(split), folder, split=split)
        if "test" not in listing.rows:
            remove_packed(folder, split="test")
        write_skipped(root, damaged)
        write_info(info, folder.info_file)
        write_record(root, stamps | stamps_of(root, [INFO]))
    for channels, found in ((info.constant_channels, "constant"), (info.almost_constant_channels, "almost constant")):
        if channels:
            say(f"{root}: {' and '.join(channels)} {found} over all training images, so normalised by 1")
    return info


def recorded_files(folder: DataFolder, listing: Listing) -> list[str]:
    """Return the files of custom data whose change is to be noticed, relative to the root: tables, then images."""
    prefix = "" if folder.images == folder.root else f"{folder.images.name}/"
    images = (row.file for rows in listing.rows.values() for row in rows)
    return [f"{prefix}{name}" for name in (*listing.tables, *images)]


def _describe_data(tables: Listing, images: dict[Split, NDArray[np.uint8]], *, name: str) -> DatasetInfo:
    num_train = len(images["train"])
    mean, std = channel_statistics(images["train"][: num_train - tables.num_validation])
    info = DatasetInfo(
        name=name,
        origin="custom",
        class_names=tables.class_names,
        superclass_names=tables.superclass_names,
        class_to_superclass=tables.class_to_superclass,
        num_train=num_train,
        num_test=len(images.get("test", ())),
        num_validation=tables.num_validation,
        sha256={},
        mean=mean,
        std=std,
    )
    sha256: dict[str, str] = {split: content_sha256(images[split], tables.labels(split), info) for split in images}
    return replace(info, sha256=sha256)


def _say_damaged(root: Path, damaged: Mapping[str, str]) -> None:
    for reason in list(damaged.values())[:_NUM_NAMED]:
        warn(f"left out: {reason}")
    more = f"; {SKIPPED} lists all of them" if len(damaged) > _NUM_NAMED else f"; see {SKIPPED}"
    images = "damaged image was" if len(damaged) == 1 else "damaged images were"
    warn(f"{root}: {len(damaged):,} {images} left out{more}")


def _read_images(
    rows: Sequence[Row], folder: Path, *, split: Split, damaged: dict[str, str] | None
) -> NDArray[np.uint8]:
    """Return uint8 (N, 3, 32, 32) of the images that can be read; the others are added to `damaged`, if it is given."""
    images = np.empty((len(rows), 3, IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)

    def read(index: int) -> str:
        try:
            images[index] = read_image(folder / rows[index].file).transpose(2, 0, 1)
        except UserError as error:
            where = "" if str(error).startswith(rows[index].place) else f"{rows[index].place}: "
            if damaged is None:
                raise UserError(f"{where}{error} {_HOW_TO_SKIP}") from error
            return f"{where}{error}"
        return ""

    with progress(f"Reading {split} images", total=len(rows)) as advance, ThreadPoolExecutor() as pool:
        reasons = []
        for reason in pool.map(read, range(len(rows))):
            reasons.append(reason)
            advance(1)
    if damaged is None or not any(reasons):
        return images
    damaged |= {row.file: reason for row, reason in zip(rows, reasons, strict=True) if reason}
    return images[[not reason for reason in reasons]]
