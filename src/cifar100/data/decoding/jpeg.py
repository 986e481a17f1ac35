"""The segments of a JPEG file: what bounds its memory and time, and a copy with only those that the pixels need."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cifar100.data.decoding.formats import ImageError

MAX_SCANS = 100
"""Progressive files have about ten. Each scan passes over all pixels, also an empty one of a few bytes."""

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""A marker after the pixels of a scan; 0xFF00 and the restart markers D0 to D7 are part of the pixels."""


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """A JPEG file without the metadata that its pixels do not need."""

    content: bytes
    coefficients_per_pixel: float
    """Bytes that the decoder keeps of each pixel while it reads several scans; 0 for a single scan."""


def essential(content: bytes) -> Jpeg:
    """Return the file with only the segments of its pixels and the first note of its orientation.

    Raises:
        ImageError: it has too many scans, or pixels that cannot be decoded.
        ValueError: it is damaged.
    """
    kept = [content[:2]]
    notes = {_EXIF, _XMP}
    position, frame = 2, None
    while True:
        marker, start, end = _segment(content, position)
        if marker in _SOF:
            frame = frame or (marker, content[start + 4 : end])
        if marker == 0xDA:
            break
        note = next((note for note in notes if content.startswith(note, start + 4)), None)
        if not 0xE0 <= marker <= 0xFE or marker in (0xE0, 0xEE) or (marker == 0xE1 and note):
            kept.append(content[start:end])
            notes -= {note} if note else set()
        position = end
    if frame is None:
        raise ValueError("no frame before the first scan")
    kept.append(content[start:])
    scans = _num_scans(content, start)
    return Jpeg(content=b"".join(kept), coefficients_per_pixel=_coefficients(*frame, scans=scans))


def _segment(content: bytes, position: int) -> tuple[int, int, int]:
    """Return marker, start and end of the next segment; skips junk before it as Pillow does."""
    start = content.find(b"\xff", position)
    while content[start + 1 : start + 2] in (b"\xff", b"\x00"):
        start = content.find(b"\xff", start + 1)
        if start < 0:
            break
    header = content[start : start + 4]
    length = int.from_bytes(header[2:])
    if start < 0 or len(header) < 4 or length < 2 or header[1] < 0xC0 or 0xD0 <= header[1] <= 0xD9:
        raise ValueError("no segment")
    return header[1], start, start + 2 + length


def _num_scans(content: bytes, position: int) -> int:
    scans = 0
    while match := _MARKER.search(content, position):
        marker = match[1][0]
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        if scans > MAX_SCANS:
            raise ImageError(f"has more than {MAX_SCANS} scans; save it again, or leave it out")
        position = match.end() + max(2, int.from_bytes(content[match.end() : match.end() + 2]))
    return scans


def _coefficients(marker: int, frame: bytes, *, scans: int) -> float:
    if marker not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
        raise ImageError(f"is a JPEG file of a rare kind (SOF{marker - 0xC0}); save it as baseline JPEG or PNG")
    if frame[0] != 8:
        raise ImageError(f"is a JPEG file with {frame[0]} bits per channel, expected 8; convert it to PNG")
    if scans <= 1 and marker not in (0xC2, 0xCA):
        return 0
    factors = [(byte >> 4, byte & 15) for byte in frame[7::3]]
    most = max(across for across, _ in factors) * max(down for _, down in factors)
    return 2 * sum(across * down for across, down in factors) / max(most, 1)
