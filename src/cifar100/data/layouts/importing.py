"""Copy labelled images of another place or out of a file into a data folder, as image files with CSV labels.

They are complete, with `source.json`, under a partial name, and get their name `cifar100_images` last.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import INFO
from cifar100.data.decoding.formats import ImageError, format_of
from cifar100.data.folder.csv_labels import COLUMNS
from cifar100.data.layouts.arrays import ArrayFile
from cifar100.data.layouts.class_folders import Part
from cifar100.data.layouts.contained import ContainedImage, Container, container_files
from cifar100.data.layouts.listing import Listing, Row
from cifar100.data.layouts.parquet import ParquetFiles
from cifar100.data.layouts.reading import list_folder
from cifar100.data.layouts.recognition import CUSTOM_IMAGES, ORIGIN_FILE, Found
from cifar100.errors import UserError
from cifar100.files import schema
from cifar100.files.atomic import json_text, open_new, partial_path, write_atomically, writing_below
from cifar100.files.regular import open_regular, read_json
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import csv_cell
from cifar100.long_steps import progress
from cifar100.terminal import say

PARTS: tuple[Part, ...] = ("train", "validation", "test")
_TABLES: dict[Part, str] = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}

_CHUNK = 100

_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}
"""Of a format; of others its name in lower case."""


class Origin(NamedTuple):
    """Where the images of a data folder came from."""

    source: str
    """Absolute path; `.` if it is the data folder."""
    name: str
    digest: str
    """Of names, sizes and times of the source's files."""


def container(found: Found) -> Container | None:
    """Return the files that hold images; None for a layout of image files.

    Raises:
        UserError: the files are damaged or their content is unknown.
    """
    if found.kind == "parquet":
        return ParquetFiles(found.path)
    return ArrayFile(found.path) if found.kind == "npz" else None


def import_images(found: Found, root: Path) -> None:
    """Write the images and labels of a source into `root`, instead of those that were imported earlier.

    Raises:
        UserError: the source is damaged, or `root` cannot be written.
    """
    target = root / CUSTOM_IMAGES
    with writing_below(root):
        partial = partial_path(target)
        try:
            partial.mkdir(parents=True)
            source = container(found)
            if source is not None:
                files: Sequence[Path] = source.files
                say(f"{found.path}: {_describe(source)}")
                _write_contained(source, partial)
            else:
                listing = list_folder(found.path)
                files = _files_of(found, listing)
                say(f"{found.path}: {listing.describe()}")
                _copy(listing, found.path, partial)
            origin = Origin(_relative(found.path, root), _name(found.path), _digest(files))
            write_atomically(partial / ORIGIN_FILE, json_text(origin._asdict()).encode())
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def remove_import(root: Path) -> None:
    """Remove the imported images of a data folder."""
    shutil.rmtree(root / CUSTOM_IMAGES, ignore_errors=True)


def read_origin(root: Path) -> Origin:
    """Return where the imported images of a data folder came from.

    Raises:
        UserError: the file that says so is damaged.
    """
    path = root / CUSTOM_IMAGES / ORIGIN_FILE
    try:
        content = read_json(path)
        _ORIGIN(content, "it")
        return Origin(**{name: content[name] for name in Origin._fields})
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged; remove {root} and prepare the data again.") from error


def check_origin(found: Found, root: Path) -> None:
    """Refuse another source than that of the images in `root`, or one that has changed since.

    Raises:
        UserError: says what to do.
    """
    origin = read_origin(root)
    if _relative(found.path, root) != origin.source:
        shown = root if origin.source == "." else origin.source
        raise UserError(f"{root} holds images from {shown}, not from {found.path}; choose another --root.")
    source = container(found)
    files = _files_of(found, list_folder(found.path)) if source is None else source.files
    _refuse_changed(found.path, files, origin, root)


def check_own_files(root: Path) -> None:
    """Refuse images in `root` from files that lie there as well and have changed since.

    Raises:
        UserError: says what to do.
    """
    origin = read_origin(root)
    files = [*container_files(root, ".parquet"), *container_files(root, ".npz")]
    if origin.source == "." and files:
        _refuse_changed(root, files, origin, root)


def _refuse_changed(source: Path, files: Iterable[Path], origin: Origin, root: Path) -> None:
    if _digest(files) == origin.digest:
        return
    images = as_argument(root / CUSTOM_IMAGES)
    raise UserError(
        f"{source} has changed since {root} was prepared from it; choose another --root, or, to prepare the data "
        f"again, remove {images} and {as_argument(root / INFO)}."
    )


_ORIGIN = schema.fields({"source": schema.text, "name": schema.text, "digest": schema.text})


def _describe(source: Container) -> str:
    names = {"train": "training"}
    images = ", ".join(f"{source.counts[part]:,} {names.get(part, part)}" for part in PARTS if source.counts.get(part))
    return f"found {source.found}: {images} images"


def _files_of(found: Found, listing: Listing) -> list[Path]:
    images = [found.path / row.file for rows in listing.rows.values() for row in rows]
    return [*(found.path / table for table in listing.tables), *images]


def _relative(source: Path, root: Path) -> str:
    return "." if source.resolve() == root.resolve() else str(source.resolve())


def _name(source: Path) -> str:
    resolved = source.resolve()
    return resolved.name if resolved.is_dir() else resolved.stem


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            found = os.stat(file)  # noqa: PTH116  # Path.stat takes twice as long
        except OSError:
            continue
        digest.update(f"{file.name} {found.st_size} {found.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _copy(listing: Listing, source: Path, target: Path) -> None:
    """Copy the image files of a listing under their names, and write their labels."""
    num_train = len(listing.rows["train"]) - listing.num_validation
    rows: dict[Part, Sequence[Row]] = {
        "train": listing.rows["train"][:num_train],
        "validation": listing.rows["train"][num_train:],
        "test": listing.rows.get("test", ()),
    }

    def copy(row: Row) -> None:
        to = target / row.file
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            opened = open_regular(source / row.file)
        except OSError as error:
            raise UserError(f"{row.place}: {source / row.file} cannot be read ({error.strerror}).") from error
        with opened, open_new(to) as file:
            shutil.copyfileobj(opened, file)

    everything = list(itertools.chain(*rows.values()))
    with progress("Copying images", total=len(everything)) as advance, ThreadPoolExecutor() as pool:
        for _ in pool.map(copy, everything):
            advance(1)
    for part, some in rows.items():
        _write_table(target / _TABLES[part], some)


def _write_contained(source: Container, target: Path) -> None:
    """Write each image of a container as a file, and the labels."""

    def write(item: tuple[int, ContainedImage], part: Part) -> Row:
        number, image = item
        content = image.content if isinstance(image.content, bytes) else _png(image.content)
        safe = re.sub(r"[^\w-]", "_", image.name or image.label, flags=re.ASCII)[:60]
        name = f"{part}/{number:05d}_{safe}{_suffix(content)}"
        with open_new(target / name) as file:
            file.write(content)
        return Row(
            place=image.place,
            file=name,
            label=image.label,
            name=image.name,
            superclass=image.superclass,
            superclass_name=image.superclass_name,
        )

    with ThreadPoolExecutor() as pool:
        for part in PARTS:
            if not source.counts.get(part):
                continue
            (target / part).mkdir()
            rows: list[Row] = []
            with progress(f"Writing {part} images", total=source.counts[part]) as advance:
                images = enumerate(source.images(part))
                while chunk := list(itertools.islice(images, _CHUNK)):
                    rows += pool.map(write, chunk, itertools.repeat(part))
                    advance(len(chunk))
            _write_table(target / _TABLES[part], rows)


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    if not rows:
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = (row.label, row.name, row.superclass, row.superclass_name)
        file = f"./{row.file}" if row.file[0].isspace() else row.file  # spaces around a value are not read
        writer.writerow((file, *map(_cell, values)))
    write_atomically(path, text.getvalue().encode())


def _cell(text: str) -> str:
    is_number = text.lstrip("-").isdecimal() and text.isascii()
    return text if is_number else csv_cell(text)


def _suffix(content: bytes) -> str:
    try:
        kind = format_of(content[:512])
    except ImageError:
        return ".image"  # reading it says what it is
    return _SUFFIXES.get(kind, f".{kind.lower()}")


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return the PNG file of (H, W), (H, W, 3) RGB or (H, W, 4) RGBA."""
    import cv2

    channels = {3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's order
    ordered = pixels if pixels.ndim == 2 else pixels[..., channels[pixels.shape[2]]]
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(ordered))
    return bytes(encoded)
