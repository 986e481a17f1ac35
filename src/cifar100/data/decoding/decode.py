"""Decode an image file of any supported format, mode and size to a square of RGB pixels, in bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cifar100.data.decoding.formats import ImageError
from cifar100.data.decoding.memory import Memory
from cifar100.data.decoding.pictures import MANY_PIXELS, ROW_BYTES, OpenedPicture, Picture, open_picture

MAX_PIXELS = 250_000_000
"""A phone's largest picture has 200 million."""

_REDUCED_SIDE, _REDUCED_TIMES = 256, 4
"""The shorter side, in pixels and in sides of the result, to which an image of many pixels is at most averaged, in
parts, before it is resized as others are. The result differs from that of a single step by rounding."""

_PART_PIXELS = MANY_PIXELS // 4
_CONVERSION_BYTES = 24
"""Of each pixel in the part of an image that is converted to RGB at a time."""

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of an EXIF orientation upright."""


def decode_image(content: bytes, memory: Memory, *, side: int) -> NDArray[np.uint8]:
    """Return the first image of a file as uint8 (side, side, 3) RGB.

    Applies the orientation that a camera noted and lays transparency on white. Scales the shorter side to `side` with
    Pillow's antialiased cubic filter, and crops the centre. Waits while other threads use the memory that it needs.

    Raises:
        ImageError: the format or the kind of pixels is not supported, or the image is too large.
        Exception: the file is damaged; Pillow raises almost anything.
    """
    try:
        return np.array(_fitted(open_picture(content, least_side=_reduced_side(side)), memory, side))
    except Image.DecompressionBombError as error:  # TIFF and GIF have Pillow's own limit
        most = 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS // 2)
        raise ImageError(f"has more than {most:,} pixels; scale it down") from error


def convert_image(image: Image.Image, memory: Memory, *, side: int) -> NDArray[np.uint8]:
    """Return an image that Pillow has opened as `decode_image` returns that of a file.

    Raises:
        ImageError, Exception: as `decode_image`.
    """
    return np.array(_fitted(OpenedPicture(image), memory, side))


def _reduced_side(side: int) -> int:
    return max(_REDUCED_SIDE, _REDUCED_TIMES * side)


def _fitted(picture: Picture, memory: Memory, side: int) -> Image.Image:
    reduced_side = _reduced_side(side)
    needed = int(picture.memory) + _memory_of_conversion(*picture.size, reduced_side)
    if picture.num_pixels > MAX_PIXELS or needed > memory.total:
        raise ImageError(
            f"has {picture.num_pixels:,} pixels and takes {needed // 2**20:,} MB to read, expected at most "
            f"{MAX_PIXELS:,} pixels and {memory.total // 2**20} MB; scale it down"
        )
    with memory.reserved(needed):
        picture.load()
        width, height = picture.size
        if width * height > MANY_PIXELS:
            return _upright(_fitted_in_parts(picture, side, reduced_side), picture.orientation)
        image = _upright(picture.rows(0, height), picture.orientation)
    size = (side, side)
    return image if image.size == size else ImageOps.fit(image, size, method=Image.Resampling.BICUBIC)


def _factor(width: int, height: int, reduced_side: int) -> int:
    return max(1, min(width, height) // reduced_side) if width * height > MANY_PIXELS else 1


def _memory_of_conversion(width: int, height: int, reduced_side: int) -> int:
    factor = _factor(width, height, reduced_side)
    part = width * height if width * height <= MANY_PIXELS else max(_PART_PIXELS, width * factor)
    return part * _CONVERSION_BYTES + (4 * width // factor + ROW_BYTES) * height // factor


def _fitted_in_parts(picture: Picture, side: int, reduced_side: int) -> Image.Image:
    """Return the centre of an image of many pixels, side x side. Averages over squares in parts, without a copy."""
    width, height = picture.size
    factor = _factor(width, height, reduced_side)
    step = factor * max(1, _PART_PIXELS // (width * factor))
    reduced = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for row in range(0, height, step):
        rows = picture.rows(row, min(row + step, height))
        reduced.paste(rows.reduce(factor), (0, row // factor))
    shorter = min(width, height) / factor
    left, top = (width / factor - shorter) / 2, (height / factor - shorter) / 2
    box = (left, top, left + shorter, top + shorter)  # the last squares may lie partly outside the image
    return reduced.resize((side, side), Image.Resampling.BICUBIC, box=box)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else image
