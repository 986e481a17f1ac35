"""Image files: `read_image`, the only reader of images, and the PNG files and CSV labels of a release."""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cifar100.data.folder.csv_labels import COLUMNS
from cifar100.data.folder.layout import DatasetInfo, Split
from cifar100.data.sources.release import ReleaseSplit
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, write_atomically
from cifar100.foreign_text import csv_cell
from cifar100.long_steps import progress

IMAGE_SIDE = 32

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PLAIN_HEADER = IMAGE_SIDE.to_bytes(4) * 2 + b"\x08\x02"
"""Width, height, 8 bits, RGB."""

_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}
"""The chunks of a PNG file that has neither transparency nor an orientation."""

_CHUNK = 500


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file of any format, mode and size as uint8 (32, 32, 3) RGB.

    Applies the orientation that a camera noted and lays transparency on white. Scales the shorter side to 32 pixels and
    crops the centre. The pixels of a plain 32x32 RGB image stay as they are.

    Raises:
        UserError: the file is missing, damaged, too large or not an image.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    chunks = _png_chunks(content) if content.startswith(_PNG_START) else None
    if chunks == _PLAIN_CHUNKS and content[16:26] == _PLAIN_HEADER:
        image = _decode_plain_png(content)
        if image is not None:
            return image
    try:
        if chunks is not None and not chunks:
            raise ValueError("a checksum differs")  # Pillow compares those of some chunks only
        return _decode_any(content)
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; scale it down.") from error
    except _FloatingPointError as error:
        raise UserError(f"{path} has floating-point pixels; save it with 8 or 16 bits per channel.") from error
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        found = f"{path} is damaged or not an image ({len(content)} bytes)"
        raise UserError(f"{found}; restore it or leave it out.") from error


def _png_chunks(content: bytes) -> set[bytes]:
    """Return the names of the chunks of a PNG file; the empty set if a checksum differs or the end is missing.

    libpng compares the checksums as well, but prints a difference on standard error.
    """
    names = set()
    position, name = len(_PNG_START), b""
    while position < len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])  # length, name, data, checksum
        name = content[position + 4 : position + 8]
        if zlib.crc32(content[position + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            return set()
        names.add(name)
        position = end
    return names if name == b"IEND" and position == len(content) else set()


def _decode_plain_png(content: bytes) -> NDArray[np.uint8] | None:
    """Decode a plain 32x32 RGB image with OpenCV: 35 instead of Pillow's 60 microseconds on a 2-core machine.

    Returns None if the image is damaged.
    """
    import cv2  # here: `predict` reads photographs without it

    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class _FloatingPointError(ValueError):
    """The pixels of an image are floating-point numbers, whose range is unknown."""


def _decode_any(content: bytes) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        # Above half its limit of 179 million pixels Pillow only warns; phones take such pictures.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(content))
    with image:
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    if rgb.size != (IMAGE_SIDE, IMAGE_SIDE):
        rgb = ImageOps.fit(rgb, (IMAGE_SIDE, IMAGE_SIDE), method=Image.Resampling.BICUBIC)
    return np.array(rgb)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB and lay transparency on white."""
    if image.mode == "F":
        raise _FloatingPointError
    if image.mode.startswith("I"):  # 16 bits per pixel; Pillow's own conversion clips
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values / 257).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


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


def has_all_images(labels: NDArray[np.int64], info: DatasetInfo, folder: Path) -> bool:
    """Return whether every PNG file of a split is present with the right checksums. Decodes none."""
    files = image_file_names(labels, info.class_names)
    with ThreadPoolExecutor() as pool:
        return all(pool.map(lambda file: _is_whole(folder / file), files, chunksize=_CHUNK))


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return content.startswith(_PNG_START) and bool(_png_chunks(content))
