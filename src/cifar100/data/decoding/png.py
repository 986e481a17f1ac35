"""The chunks of a PNG file: checksums, and a copy with only those that the pixels need.

Pillow would decompress text and colour profiles, and read every frame of an animation.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

START = b"\x89PNG\r\n\x1a\n"

_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_ORIENTATION = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""Text in which programs note the orientation."""

_MAX_NOTE = 2**20


class Chunk(NamedTuple):
    """A chunk and its place in the file: length, name, data, checksum."""

    name: bytes
    start: int
    end: int


def chunks(content: bytes) -> list[Chunk]:
    """Return the chunks up to the end of the image; bytes behind it are ignored, because some programs append data.

    Returns the empty list if a checksum differs or the end is missing. libpng compares the checksums as well, but
    prints a difference on standard error; Pillow compares those of some chunks only.
    """
    found = []
    view = memoryview(content)  # checksums without a copy
    position = len(START)
    while position < len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])
        name = content[position + 4 : position + 8]
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            return []
        found.append(Chunk(name, position, end))
        if name == b"IEND":
            return found
        position = end
    return []


def essential(content: bytes, found: list[Chunk]) -> bytes:
    """Return the file with only the chunks of its pixels and the notes of its orientation, which stand before them."""
    header, *others = found
    notes = [chunk for chunk in others if _is_note(content, chunk)]
    pixels = [chunk for chunk in others if chunk.name in _PIXELS]
    return START + b"".join(content[chunk.start : chunk.end] for chunk in (header, *notes, *pixels))


def significant_bits(content: bytes, found: list[Chunk]) -> int | None:
    """Return the maximum of the bits that `sBIT` declares for the colours, None without it."""
    for chunk in found:
        if chunk.name == b"sBIT":
            data = content[chunk.start + 8 : chunk.end - 4]
            colours = 1 if len(data) < 3 else 3
            return max(data[:colours], default=0) or None
    return None


def _is_note(content: bytes, chunk: Chunk) -> bool:
    if chunk.end - chunk.start > _MAX_NOTE:
        return False
    if chunk.name == b"eXIf":
        return True
    return chunk.name in (b"tEXt", b"zTXt", b"iTXt") and content.startswith(_ORIENTATION, chunk.start + 8)
