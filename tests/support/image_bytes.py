"""Image files byte by byte, made by code that shares nothing with their readers: kinds that Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_file(pixels: Any, *, colour: int, bits: int = 16, extra: bytes = b"", behind: bytes = b"") -> bytes:
    """pixels: (H, W) or (H, W, channels)."""
    height, width = pixels.shape[:2]
    kind = ">u2" if bits == 16 else "u1"
    rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        PNG_START + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"") + behind
    )


def png_bomb(width: int, height: int, *, bits: int = 8, colour: int = 2, rows: int | None = None) -> bytes:
    """Black pixels; `rows` of them, all by default."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + (width * channels * bits + 7) // 8)
    compressor = zlib.compressobj(9)
    data = b"".join(compressor.compress(row) for _ in range(height if rows is None else rows)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff_file(tags: dict[int, int | list[int]], data: bytes = b"", *, order: str = "<") -> bytes:
    """Tags of 32 bits; the pixel data begins at byte 8."""
    place = 8 + len(data) + len(data) % 2
    behind = place + 2 + 12 * len(tags) + 4
    entries, values = struct.pack(order + "H", len(tags)), b""
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, list) else [value]
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        inline = packed if len(numbers) == 1 else struct.pack(order + "I", behind + len(values))
        values += b"" if len(numbers) == 1 else packed
        entries += struct.pack(order + "HHI", tag, 4, len(numbers)) + inline
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "I", place) + data.ljust(place - 8, b"\0") + entries + bytes(4) + values


def tiff_of(pixels: Any, *, order: str = "<", **tags: int) -> bytes:
    """An uncompressed TIFF file of an array of 8 to 32 bits; names of `tags`: t274=6."""
    kind = pixels.dtype.newbyteorder(order)
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    bits, signed = 8 * pixels.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    data = pixels.astype(kind).tobytes()
    known: dict[int, int | list[int]] = {256: width, 257: height, 258: [bits] * channels if channels > 1 else bits}
    known |= {259: 1, 262: 2 if channels > 2 else 1, 273: 8, 277: channels, 278: height, 279: len(data)}
    known |= {339: [signed] * channels if channels > 1 else signed}
    return tiff_file(known | {int(name[1:]): value for name, value in tags.items()}, data, order=order)


def exif(count: int, *, tag: int = 0x011A, kind: int = 5, size: int = 8) -> bytes:
    """Exif data with `count` values of one tag."""
    return b"II*\0" + struct.pack("<IHHHII", 8, 1, tag, kind, count, 26) + bytes(4) + b"\1\0\0\0" * (count * size // 4)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Saves copies, because a saved image keeps options of its format."""
    buffer = io.BytesIO()
    frames = (
        {"append_images": [frame.copy() for frame in options["append_images"]]} if "append_images" in options else {}
    )
    image.copy().save(buffer, kind, **(options | frames))
    return buffer.getvalue()


def jpeg_of_size(width: int, height: int, **options: Any) -> bytes:
    """A JPEG file whose header lies about its size."""
    content = saved(Image.new("RGB", (64, 64)), "JPEG", **options)
    at = content.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


def scene(width: int = 48, height: int = 40, mode: str = "RGB") -> Image.Image:
    """A smooth picture, so that lossy formats change it little."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [200 * rows / height + 20, 200 * columns / width + 20, 100 + 60 * np.sin(rows / 9 + columns / 7)]
    image = Image.fromarray(np.stack(planes, 2).astype(np.uint8))
    if "A" in mode:
        image.putalpha(Image.fromarray((columns * 255 // width).astype(np.uint8)))
    return image.convert(mode)
