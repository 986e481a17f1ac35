"""The first directory of a TIFF file: what bounds the memory of its pixels and of its tags, and their range."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from cifar100.data.decoding.formats import CONVERT, ImageError

MAX_TAG_BYTES = 4 * 2**20
"""Of all tags. Pillow makes up to 30 times as many bytes of them. A strip for each of 200,000 rows takes 1.6 MB."""

COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 50000}
"""None, CCITT, LZW, JPEG, deflate, PackBits, Zstandard. Not LZMA and WebP, whose decoders ask for memory themselves."""

_PHOTOMETRICS = {0, 1, 2, 3, 5, 6}
"""Grey, RGB, palette, CMYK, YCbCr. Not LAB."""

_UNSUPPORTED_COLOURS = {8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "raw camera", 34892: "raw camera"}

_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 258, 259, 262, 274
_SAMPLES, _MAX_VALUE, _PLANAR, _TILE_WIDTH, _TILE_LENGTH = 277, 281, 284, 322, 323
_EXTRA_SAMPLES, _FORMAT = 338, 339
_STRIPS, _TILES = 273, 324
_PART_BYTES = 400
"""That Pillow takes for each strip or tile."""

_SUBDIRECTORIES = (34665, 34853, 40965)
"""Exif, GPS and interoperability, which Pillow reads after the pixels."""

_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_CODES = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q"}


@dataclass(frozen=True, kw_only=True)
class Tiff:
    """What the tags of the first image say about its pixels."""

    bits: int
    samples: int
    planar: bool
    signed: bool
    inverted: bool
    """0 is white."""

    declared: int | None
    """The maximum value, if it is declared and not that of the storage."""

    extra: int | None
    """What the first extra sample is: 0 anything, 1 premultiplied alpha, 2 alpha."""

    rotated: bool
    tile_bytes: int
    num_parts: int
    """Strips or tiles."""

    @property
    def wide_colour(self) -> bool:
        """Whether each pixel has several samples of 16 bits, of which Pillow reads the upper 8."""
        return self.bits == 16 and self.samples in (3, 4)

    def memory(self, num_pixels: int) -> float:
        """Return the bytes beside Pillow's image: its rotated copy, a strip, which may hold all pixels, and a tile."""
        per_pixel = 4 * self.rotated + self.samples * self.bits / 8
        return per_pixel * num_pixels + self.tile_bytes + _PART_BYTES * self.num_parts


def read_tags(content: bytes) -> Tiff:
    """Read the tags of the first image.

    Raises:
        ImageError: the tags take too much memory, or the pixels are of a kind that is not supported.
        ValueError or struct.error: the file is damaged.
    """
    directory = _Directory(content)
    directory.add_subdirectories()
    if directory.total_bytes > MAX_TAG_BYTES:
        raise ImageError(f"has {directory.total_bytes:,} bytes of TIFF tags, expected at most {MAX_TAG_BYTES:,}")
    first = directory.first
    if (compression := first(_COMPRESSION, 1)) not in COMPRESSIONS:
        raise ImageError(f"has TIFF compression {compression}, which is not supported; {CONVERT}")
    sample_format = first(_FORMAT, 1)
    if sample_format not in (1, 2, 4):
        raise ImageError("has floating-point pixels; save it with 8 or 16 bits per channel")
    bits, samples = first(_BITS, 1), first(_SAMPLES, 1)
    tiff = Tiff(
        bits=bits,
        samples=samples,
        planar=first(_PLANAR, 1) == 2,
        signed=sample_format == 2,
        inverted=first(_PHOTOMETRIC, 0) == 0,
        declared=_declared(bits, first(_MAX_VALUE, 0)),
        extra=first(_EXTRA_SAMPLES, -1) if directory.count(_EXTRA_SAMPLES) else None,
        rotated=first(_ORIENTATION, 1) != 1,
        num_parts=max(directory.count(_STRIPS), directory.count(_TILES)),
        tile_bytes=first(_TILE_WIDTH, 0) * first(_TILE_LENGTH, 0) * samples * bits // 8,
    )
    if bits == 8 and tiff.signed:
        raise ImageError("has signed pixels of 8 bits; shift them to 0 and above, or leave it out")
    if first(_PHOTOMETRIC, 0) not in _PHOTOMETRICS:
        colours = _UNSUPPORTED_COLOURS.get(first(_PHOTOMETRIC, 0), f"unknown ({first(_PHOTOMETRIC, 0)})")
        raise ImageError(f"has {colours} colours, expected grey, RGB, palette, CMYK or YCbCr; {CONVERT}")
    if samples == 2 and tiff.extra == 1:
        raise unsupported(tiff)
    if tiff.wide_colour and tiff.planar:
        raise ImageError("has 16 bits per channel in separate planes; save it with interleaved channels")
    if first(_PHOTOMETRIC, 0) == 5 and bits == 16:
        raise ImageError("has CMYK pixels of 16 bits; save it with 8 bits per channel")
    return tiff


def _declared(bits: int, maximum: int) -> int | None:
    """Return the maximum value from the tags, with all its bits set: some programs write the maximum of this image."""
    depth = maximum.bit_length()
    if 8 <= depth < bits:
        return int(2**depth - 1)
    return int(2**bits - 1) if 8 < bits < 16 else None


def unsupported(tiff: Tiff) -> ImageError:
    """Return the error for a kind of pixels that Pillow does not know."""
    kind = f"{tiff.samples} x {tiff.bits} bits per pixel"
    return ImageError(f"has {kind} in a form that is not supported; save it with 8 or 16 bits per channel")


@dataclass
class _Directory:
    content: bytes
    total_bytes: int = 0
    entries: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    """Type, count and data (at most 64 bytes) of each tag."""

    def __post_init__(self) -> None:
        self.order = "<" if self.content[:2] == b"II" else ">"
        self.big = self.content[2:4] in (b"\x2b\x00", b"\x00\x2b")
        (offset,) = self._unpack("Q" if self.big else "L", 8 if self.big else 4)
        self.entries = self._read(offset)

    def add_subdirectories(self) -> None:
        found = self.entries
        for _ in range(2):  # Exif holds the third
            below: dict[int, tuple[int, int, bytes]] = {}
            for tag in _SUBDIRECTORIES:
                if tag in found:
                    below |= self._read(self._values(found[tag])[0])
            found = below

    def count(self, tag: int) -> int:
        return self.entries[tag][1] if tag in self.entries else 0

    def first(self, tag: int, default: int) -> int:
        return self._values(self.entries[tag])[0] if tag in self.entries else default

    def _values(self, entry: tuple[int, int, bytes]) -> tuple[int, ...]:
        kind, count, data = entry
        code = _CODES.get(kind, "B")
        number = min(count, len(data) // struct.calcsize(self.order + code))
        if not number:
            raise ValueError("an empty tag")
        return struct.unpack_from(f"{self.order}{number}{code}", data)

    def _read(self, offset: int) -> dict[int, tuple[int, int, bytes]]:
        entries: dict[int, tuple[int, int, bytes]] = {}
        if offset >= len(self.content):
            return entries
        (number,) = self._unpack("Q" if self.big else "H", offset)
        offset += 8 if self.big else 2
        step, layout, room = (20, "HHQ", 8) if self.big else (12, "HHL", 4)
        self.total_bytes += number * step
        for at in range(offset, min(offset + number * step, len(self.content) - step + 1, offset + 10**6), step):
            tag, kind, count = self._unpack(layout, at)
            size = count * _UNIT_BYTES.get(kind, 0)
            place = at + step - room
            if size > room:
                self.total_bytes += min(size, len(self.content))
                (place,) = self._unpack("Q" if self.big else "L", place)
            entries.setdefault(tag, (kind, count, self.content[place : place + min(size, 64)]))
        return entries

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + layout, self.content, offset)
