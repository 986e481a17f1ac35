"""Read PGM and PPM files whose maximum is not 255; Pillow drops bits of a colour, one pixel at a time."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cifar100.data.decoding.formats import ImageError

_GAP = rb"(?:\s|#[^\r\n]*+[\r\n])++"  # without backtracking
_NUMBER = _GAP + rb"(\d{1,9})"
_HEADER = re.compile(rb"P(?:([2356])" + _NUMBER * 3 + rb"|[14]" + _NUMBER * 2 + rb")\s")
"""Bitmaps have no maximum."""

_MAX_HEADER_BYTES = 2**16

MAX_TEXT_BYTES = 16 * 2**20
"""Of a file that spells its numbers out, which takes about five seconds. Each comment takes a copy."""

_AS_BINARY = "save it as binary PPM or PNG"


class Header(NamedTuple):
    """The header of a binary file whose maximum is not 255."""

    width: int
    height: int
    channels: int
    maximum: int
    start: int
    """Where the pixels begin."""


def read_header(content: bytes) -> Header | None:
    """Return the header, or None for a file that Pillow reads as well.

    Raises:
        ImageError: the file spells its numbers out, and would take long or lose bits.
        ValueError: it is damaged.
    """
    match = _HEADER.match(content[:_MAX_HEADER_BYTES])
    if match is None:
        raise ValueError("no header")
    text = content[1:2] in b"123"
    if text and (len(content) > MAX_TEXT_BYTES or b"#" in content[match.end() :]):
        raise ImageError(f"is a PPM file in text with comments or over {MAX_TEXT_BYTES:,} bytes; {_AS_BINARY}")
    if match[1] is None:
        return None
    width, height, maximum = int(match[2]), int(match[3]), int(match[4])
    if match[1] == b"3" and maximum > 255:
        raise ImageError(f"is a PPM file in text with more than 8 bits per channel; {_AS_BINARY}")
    if text or maximum == 255 or not 0 < maximum < 65536 or not width or not height:
        return None
    return Header(width, height, 1 if match[1] == b"5" else 3, maximum, match.end())


def read_pixels(content: bytes, header: Header) -> NDArray[np.integer]:
    """Return the pixels, (H, W) or (H, W, 3), a view of the content.

    Raises:
        ValueError: the file is truncated.
    """
    kind = np.dtype(">u2" if header.maximum > 255 else "u1")
    shape = (header.height, header.width, header.channels)[: 2 + (header.channels > 1)]
    return np.frombuffer(content, kind, count=math.prod(shape), offset=header.start).reshape(shape)
