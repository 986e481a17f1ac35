"""Prepare custom data of any layout: image files of many formats and any size, and their labels.

The images are not changed; the packed arrays and `dataset.json` are written next to them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import CHANNELS, IMAGE_SIDE, DatasetInfo, write_info
from cifar100.data.folder.image_files import UnusableImage, read_image
from cifar100.data.folder.layout import DataFolder, Split
from cifar100.data.folder.record import Stamp, begin_record, stamps_of, write_record
from cifar100.data.layouts.importing import read_origin
from cifar100.data.layouts.listing import Listing, Row
from cifar100.data.layouts.reading import SKIPPED, read_listing, write_skipped
from cifar100.data.layouts.recognition import is_imported
from cifar100.data.packed_arrays import ContentSums, remove_packed, write_labels, writing_images
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, writing_below
from cifar100.foreign_text import printable
from cifar100.long_steps import progress
from cifar100.process.memory import bytes_text
from cifar100.terminal import say, warn

_NUM_NAMED = 10
"""Damaged images that are named, one a line."""

_HOW_TO_SKIP = "To leave out all damaged images, use --data.skip_damaged true (prepare: --skip-damaged)."

_PART_BYTES = 2**26
"""Of the images that are in memory at the same time."""

_LARGE_BYTES = 10**8
"""Of arrays about whose size a line is worth while."""


def prepare_custom(root: Path, *, image_size: int = IMAGE_SIDE, skip_damaged: bool = False) -> DatasetInfo:
    """List and read all images in `root`, and write packed arrays and `dataset.json`.

    The images go to the disk part by part, so that memory does not grow with their number and size. The files get
    their names when all are complete.

    Args:
        root: the data folder.
        image_size: side in pixels to which the images are scaled.
        skip_damaged: leave out images that cannot be read, and list them in `skipped_images.csv`.

    Raises:
        UserError: a table or an image is wrong (the message names file and line), or `root` cannot be written.
    """
    folder = DataFolder(root, image_size)
    listing = read_listing(folder, with_skipped=True)
    if not is_imported(root):
        say(f"{root}: {listing.describe()}")
    stamps = stamps_of(root, recorded_files(folder, listing))  # before the images are read
    damaged: dict[str, str] = {}
    try:
        info = _write(folder, listing, stamps, damaged, skip_damaged=skip_damaged)
    except _Damaged:  # the arrays were begun with a place for each image
        say(f"{root}: reading the images again without {len(damaged):,} damaged image{'s' * (len(damaged) != 1)}")
        info = _write(folder, listing.without(damaged.keys()), stamps, damaged, skip_damaged=False)
        _warn_of_damaged(root, damaged)
    _warn_of_single_images(root, listing.without(damaged.keys()))
    for channels, found in ((info.constant_channels, "constant"), (info.almost_constant_channels, "almost constant")):
        if channels:
            what = f"{' and '.join(channels)} {found} over all training images"
            say(f"{root}: {what}; normalised by a standard deviation of 1")
    return info


class _Damaged(Exception):  # noqa: N818  # not an error: the images are left out
    """Some images cannot be read, and are to be left out."""


def _write(
    folder: DataFolder, listing: Listing, stamps: Mapping[str, Stamp], damaged: dict[str, str], *, skip_damaged: bool
) -> DatasetInfo:
    """Write the images of a listing. Raises `_Damaged` after all that are damaged were added to `damaged`.

    skip_damaged: if not, the first damaged image is refused.
    """
    root = folder.root
    _state_size(folder, sum(map(len, listing.rows.values())))
    with writing_below(root), _made(folder.packed):
        with ExitStack() as until_complete:
            found = damaged if skip_damaged else None
            sums = {
                split: _write_images(listing, folder, until_complete, split=split, damaged=found)
                for split in listing.rows
            }
            if found:
                raise _Damaged
            info = _describe(listing, sums, folder)
            if info.constant_channels == CHANNELS:
                raise UserError(
                    f"{root}: all training images have the same single colour, so nothing can be learned; "
                    "check the training images."
                )
            begin_record(folder.description_place)
        for split in listing.rows:
            write_labels(listing.labels(split), folder, split=split)
        if "test" not in listing.rows:
            remove_packed(folder, split="test")
        write_skipped(root, damaged)
        write_info(info, folder.info_file)
        write_record(folder.description_place, {**stamps, **stamps_of(root, [folder.info_name])})
    return info


def recorded_files(folder: DataFolder, listing: Listing) -> list[str]:
    """Return the files of custom data whose change is to be noticed, relative to the root: tables, then images."""
    prefix = folder.images_prefix
    images = (row.file for rows in listing.rows.values() for row in rows)
    return [f"{prefix}{name}" for name in (*listing.tables, *images)]


def _state_size(folder: DataFolder, num_images: int) -> None:
    """Say how much the arrays take, before they take it.

    Raises:
        UserError: the disk has less space.
    """
    side = folder.image_size
    needed = num_images * 3 * side**2
    free = shutil.disk_usage(folder.root).free
    what = f"{num_images:,} images of {side}x{side} pixels take {bytes_text(needed)}"
    if needed > free:
        raise UserError(
            f"{what} in {folder.packed}, but its disk has {bytes_text(free)} free; free some space, or use a smaller "
            "--data.image_size."
        )
    if needed >= _LARGE_BYTES:
        say(f"{folder.root}: {what} in {folder.packed}")


@contextmanager
def _made(place: Path) -> Iterator[None]:
    """Create a folder. If the block fails, remove the folders that were created and are empty."""
    created = [folder for folder in (place, *place.parents) if not folder.exists()]
    place.mkdir(parents=True, exist_ok=True)
    remove_partial_files(place)
    try:
        yield
    except BaseException:
        for folder in created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def _write_images(
    listing: Listing, folder: DataFolder, until_complete: ExitStack, *, split: Split, damaged: dict[str, str] | None
) -> ContentSums:
    """Write the images of a split; they get their name when `until_complete` is left. Return their sums.

    damaged: to which images that cannot be read are added, with the reason; None: they are refused.
    """
    rows, side = listing.rows[split], folder.image_size
    sums = ContentSums(len(rows) - listing.num_validation if split == "train" else 0)
    append = until_complete.enter_context(writing_images(folder, split=split, number=len(rows)))
    num_at_once = max(1, _PART_BYTES // (3 * side**2))
    place_of_images = folder.images

    def read(row: Row) -> NDArray[np.uint8] | UnusableImage:
        try:
            return read_image(place_of_images / row.file, side=side).transpose(2, 0, 1)
        except UnusableImage as error:
            return error

    with progress(f"Reading {split} images", total=len(rows)) as advance, ThreadPoolExecutor() as pool:
        for start in range(0, len(rows), num_at_once):
            some = rows[start : start + num_at_once]
            images = np.zeros((len(some), 3, side, side), dtype=np.uint8)
            for place, (row, image) in enumerate(zip(some, pool.map(read, some), strict=True)):
                if not isinstance(image, UnusableImage):
                    images[place] = image
                elif damaged is None:
                    raise UserError(f"{_where(row, image)}{image} {_HOW_TO_SKIP}") from image
                else:
                    damaged[row.file] = f"{_where(row, image)}{image.found}"
                advance(1)
            sums.add(images)
            append(images)
    return sums


def _where(row: Row, image: UnusableImage) -> str:
    """Return the line of the table that lists an image; empty if the message begins with the image itself."""
    return "" if str(image).startswith(row.place) else f"{row.place}: "


def _describe(listing: Listing, sums: dict[Split, ContentSums], folder: DataFolder) -> DatasetInfo:
    mean, std = sums["train"].statistics()
    root = folder.root
    return DatasetInfo(
        name=read_origin(root).name if is_imported(root) else root.resolve().name,
        origin="custom",
        class_names=listing.class_names,
        superclass_names=listing.superclass_names,
        class_to_superclass=listing.class_to_superclass,
        image_size=folder.image_size,
        num_train=len(listing.rows["train"]),
        num_test=len(listing.rows.get("test", ())),
        num_validation=listing.num_validation,
        sha256={split: sums[split].sha256(listing.labels(split)) for split in sums},
        mean=mean,
        std=std,
    )


def _warn_of_single_images(root: Path, listing: Listing) -> None:
    """Name the classes of which no image can be held out for validation."""
    num_train = len(listing.rows["train"]) - listing.num_validation
    counts = np.bincount(listing.labels("train")[:num_train], minlength=len(listing.class_names))
    single = [listing.class_names[label] for label in np.flatnonzero(counts == 1)]
    if single and not listing.num_validation:
        names = ", ".join(printable(name, max_length=40) for name in single[:_NUM_NAMED])
        names += ", ..." if len(single) > _NUM_NAMED else ""
        warn(
            f"{root}: {len(single):,} of {len(listing.class_names):,} classes have a single image, which stays in "
            f"training and is not validated: {names}"
        )


def _warn_of_damaged(root: Path, damaged: Mapping[str, str]) -> None:
    for reason in list(damaged.values())[:_NUM_NAMED]:
        warn(f"skipped: {reason}")
    what = "damaged image was" if len(damaged) == 1 else "damaged images were"
    warn(f"{root}: {len(damaged):,} {what} skipped; {SKIPPED} lists {'it' if len(damaged) == 1 else 'them'}")
