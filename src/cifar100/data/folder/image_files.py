"""Image files: `read_image`, the only reader of images, and the PNG files and CSV labels of a release."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cifar100.data.dataset_info import IMAGE_SIDE, DatasetInfo
from cifar100.data.decoding import png
from cifar100.data.decoding.decode import convert_image, decode_image
from cifar100.data.decoding.formats import ImageError
from cifar100.data.decoding.memory import Memory
from cifar100.data.folder.csv_labels import COLUMNS
from cifar100.data.folder.layout import Split
from cifar100.data.sources.release import ReleaseSplit
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, write_atomically
from cifar100.files.regular import open_regular
from cifar100.foreign_text import csv_cell
from cifar100.long_steps import progress

MAX_FILE_BYTES = 512 * 2**20
_LARGE_FILE_BYTES = 16 * 2**20
_MEMORY = Memory()
"""Of all images that this process decodes at the same time. A larger file is read while no other is."""

_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}
"""The chunks of a PNG file that has neither transparency nor an orientation."""

_CHUNK = 500


class UnusableImage(UserError):  # noqa: N818  # what it says of the image
    """An image cannot be read."""

    found: str
    """The message without advice, for an image that was skipped."""


def _unusable(name: object, finding: str) -> UnusableImage:
    """Return the error for an image. finding: what is wrong, and after a semicolon, what to do."""
    error = UnusableImage(f"{name} {finding}.")
    error.found = f"{name} {finding.rpartition('; ')[0] or finding}"
    return error


def read_image(path: Path, *, side: int = IMAGE_SIDE) -> NDArray[np.uint8]:
    """Read an image file of any supported format, mode and size as uint8 (side, side, 3) RGB; see `decode_image`.

    The pixels of a plain RGB image of that size stay as they are. Every image is read here: in preparation, in the
    `images` pipeline and in predict.

    Raises:
        UnusableImage: the file is missing, damaged, too large or not an image of a supported format.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise _unusable(path, f"has {size:,} bytes, expected at most {MAX_FILE_BYTES:,}; scale it down")
            if size <= _LARGE_FILE_BYTES:
                return _read(file.read(size), path, _MEMORY, side)
            with _MEMORY.reserved(_MEMORY.total):  # alone, from its first byte
                return _read(file.read(size), path, Memory(), side)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error


def read_content(content: bytes, name: str, *, side: int) -> NDArray[np.uint8]:
    """Read the content of an image file as `read_image` reads the file. `name` is for messages.

    Raises:
        UserError: as `read_image`.
    """
    if len(content) <= _LARGE_FILE_BYTES:
        return _read(content, name, _MEMORY, side)
    with _MEMORY.reserved(_MEMORY.total):
        return _read(content, name, Memory(), side)


def read_opened(image: Image.Image, name: str, *, side: int) -> NDArray[np.uint8]:
    """Read an image of Pillow as `read_image` reads a file. `name` is for messages.

    Raises:
        UserError: as `read_image`.
    """
    with _named(name, "an image of Pillow"):
        return convert_image(image, _MEMORY, side=side)


def _read(content: bytes, name: object, memory: Memory, side: int) -> NDArray[np.uint8]:
    if _is_plain_png(content, side):
        image = _decode_plain_png(content)
        if image is not None:
            return image
    with _named(name, f"{len(content):,} bytes"):
        return decode_image(content, memory, side=side)


@contextmanager
def _named(name: object, what: str) -> Iterator[None]:
    """Turn what decoding raises into an `UnusableImage`."""
    try:
        yield
    except ImageError as error:
        raise _unusable(name, str(error)) from error
    except MemoryError as error:
        raise _unusable(name, "takes more memory to read than is free; scale it down") from error
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        raise _unusable(name, f"is damaged or not an image ({what}); restore it or leave it out") from error


def _is_plain_png(content: bytes, side: int) -> bool:
    """Return whether this is an undamaged RGB image of side x side pixels without transparency and orientation."""
    width_height_8_bits_rgb = side.to_bytes(4) * 2 + b"\x08\x02"
    if content[16:26] != width_height_8_bits_rgb or not content.startswith(png.START):
        return False
    return {chunk.name for chunk in png.chunks(content)} == _PLAIN_CHUNKS


def _decode_plain_png(content: bytes) -> NDArray[np.uint8] | None:
    """Decode a plain RGB image with OpenCV: 35 instead of Pillow's 60 microseconds on a 2-core machine.

    Returns None if the image is damaged.
    """
    import cv2  # here: `predict` reads photographs without it

    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def image_file_names(labels: NDArray[np.int64], class_names: tuple[str, ...]) -> list[str]:
    """Return names like `00042_apple.png`, safe on every file system whatever the class name is."""
    safe_names = [re.sub(r"[^\w-]", "_", name, flags=re.ASCII) for name in class_names]
    return [f"{index:05d}_{safe_names[label]}.png" for index, label in enumerate(labels.tolist())]


def write_images(split: ReleaseSplit, info: DatasetInfo, folder: Path) -> None:
    """Write one PNG file per image. Remove the images that an interrupted preparation of other data left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    files = image_file_names(split.fine_labels, info.class_names)
    _remove_others(folder, set(files))

    def write_chunk(start: int) -> int:
        chunk = slice(start, start + _CHUNK)
        for file, image in zip(files[chunk], split.images[chunk], strict=True):
            write_atomically(folder / file, encode_png(image))
        return len(files[chunk])

    # Threads suffice: OpenCV and file operations release the interpreter lock.
    with progress(f"Writing {folder.name} images", total=len(files)) as advance, ThreadPoolExecutor() as pool:
        for done in pool.map(write_chunk, range(0, len(files), _CHUNK)):
            advance(done)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return the PNG file of a planar RGB image, uint8 (3, H, W)."""
    import cv2

    interleaved_bgr = np.ascontiguousarray(image[::-1].transpose(1, 2, 0))
    _, encoded = cv2.imencode(".png", interleaved_bgr)
    return bytes(encoded)


def thumbnail(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """Return a planar RGB image, uint8 (3, H, W), reduced to at most `max_side` pixels on each side, for a page.

    A smaller one stays as it is.
    """
    if max(image.shape[1:]) <= max_side:
        return image
    reduced = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    reduced.thumbnail((max_side, max_side), Image.Resampling.BOX)
    return np.array(reduced).transpose(2, 0, 1)


def _remove_others(folder: Path, files: set[str]) -> None:
    remove_partial_files(folder)
    for entry in os.scandir(folder):
        if entry.name not in files and re.fullmatch(r"\d{5,}_[\w-]+\.png", entry.name, flags=re.ASCII):
            Path(entry.path).unlink()


def labels_csv(labels: NDArray[np.int64], info: DatasetInfo, *, split: Split) -> bytes:
    """Return the content of a split's CSV file. Its column `file` is relative to the folder of the CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for file, label in zip(image_file_names(labels, info.class_names), labels.tolist(), strict=True):
        superclass = info.class_to_superclass[label]
        names = csv_cell(info.class_names[label]), csv_cell(info.superclass_names[superclass])
        writer.writerow((f"{split}/{file}", label, names[0], superclass, names[1]))
    return text.getvalue().encode()
