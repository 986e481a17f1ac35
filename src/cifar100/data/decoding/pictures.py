"""An image file whose header has been read: its size, the memory that its pixels take, and its rows as RGB."""

from __future__ import annotations

import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from cifar100.data.decoding import avif, jpeg, netpbm, png, tiff
from cifar100.data.decoding.formats import CONVERT, ImageError, foreign, format_of
from cifar100.data.decoding.integers import IntegerPixels, Integers

# Pillow warns about unknown tags and large images. A block around each call would not be safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
MANY_PIXELS = 2**22
"""Above it an image is scaled down while it is decoded or converted."""

_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 6, "I;16B": 6, "I": 12}
"""Bytes of each pixel in Pillow's memory, with those of the copies as an array; 4 in all other modes."""

ROW_BYTES = 16
"""Of each row, which begins at a multiple of four bytes and has a pointer."""

_DECODER_BYTES = {"AVIF": 8, "GIF": 8, "WEBP": 13}
"""What a decoder takes for each pixel, beside Pillow's image: measured with Pillow 13."""

_CODED_BYTES = 8
"""For each coded pixel of AVIF, before the conversion to RGB: three channels of 16 bits, and the decoder's own."""

_MAX_BYTES = {"AVIF": 32 * 2**20, "GIF": 64 * 2**20, "WEBP": 64 * 2**20}
"""Of a file. Pillow makes up to 30 times as many bytes of the Exif data, and reads GIF byte by byte."""

_WIDE_BYTES = 20
_SLOW_BYTES = 60
"""Allows 14 megapixels where Pillow decodes in Python: run-length BMP, netpbm in text."""


class Picture(ABC):
    """An image file of a supported format whose pixels are not decoded yet."""

    size: tuple[int, int]
    """Width and height as stored; `load` may exchange them."""

    num_pixels: int
    """In the file."""

    memory: float
    """Maximum number of bytes that `load` takes, with the content."""

    orientation: int = 1
    """EXIF's number of the rotation and reflection that are still to be applied."""

    @abstractmethod
    def load(self) -> None:
        """Decode the pixels."""

    @abstractmethod
    def rows(self, top: int, bottom: int) -> Image.Image:
        """Return some rows as RGB, transparency on white."""


def open_picture(content: bytes, *, least_side: int) -> Picture:
    """Read the header of an image file.

    least_side: minimum of the shorter side to which a JPEG of many pixels is scaled down while it is decoded.

    Raises:
        ImageError: its format or kind is not supported, or it asks for too much memory.
        Exception: it is damaged; Pillow raises almost anything.
    """
    kind = format_of(content)
    if len(content) > (most := _MAX_BYTES.get(kind, len(content))):
        raise ImageError(f"is a file of {len(content):,} bytes, expected at most {most:,} for {kind}; {CONVERT}")
    if kind in ("AVIF", "WEBP") and not features.check(kind.lower()):
        raise foreign(f"a file of the format {kind}, which this build of Pillow cannot read")
    if kind == "JPEG":
        return _open_jpeg(content, least_side)
    return _OPENERS[kind](content) if kind in _OPENERS else PillowPicture(content, kind)


class NetpbmPicture(Picture):
    """A binary PGM or PPM file with more or less than 8 bits."""

    def __init__(self, content: bytes, header: netpbm.Header) -> None:
        self.size = (header.width, header.height)
        self.num_pixels = header.width * header.height
        self.memory = len(content)
        self._content, self._header = content, header

    def load(self) -> None:
        """View the content as pixels."""
        declared = None if self._header.maximum == 65535 else self._header.maximum
        self._pixels = IntegerPixels(netpbm.read_pixels(self._content, self._header), Integers(declared=declared))

    def rows(self, top: int, bottom: int) -> Image.Image:
        """Return some rows as RGB."""
        return Image.fromarray(self._pixels.rows(top, bottom)).convert("RGB")


class WidePicture(Picture):
    """A PNG or TIFF file with several channels of 16 bits, of which Pillow keeps the upper 8; OpenCV keeps all."""

    def __init__(self, content: bytes, header: PillowPicture, integers: Integers) -> None:
        self.size, self.num_pixels = header.size, header.num_pixels
        self.memory = header.memory + _WIDE_BYTES * header.num_pixels
        self.orientation = 1 if header.kind == "TIFF" else header.orientation  # OpenCV applies that of TIFF
        self._content, self._integers = content, integers

    def load(self) -> None:
        """Decode with OpenCV."""
        import cv2  # here: `predict` reads photographs without it

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged file is an error instead
        values = cv2.imdecode(np.frombuffer(self._content, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None or values.dtype != np.uint16 or values.ndim != 3:
            raise ValueError("OpenCV cannot decode it")
        pixels = cast(NDArray[np.uint16], values)  # (H, W, 3 or 4), blue first
        alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
        self._pixels = IntegerPixels(pixels[..., 2::-1], self._integers, alpha=alpha)
        self.size = (pixels.shape[1], pixels.shape[0])

    def rows(self, top: int, bottom: int) -> Image.Image:
        """Return some rows as RGB, transparency on white."""
        return Image.fromarray(self._pixels.rows(top, bottom))


class PillowPicture(Picture):
    """An image that Pillow decodes."""

    def __init__(self, content: bytes, kind: str, integers: Integers | None = None) -> None:
        Image.init()
        factory = Image.OPEN[kind][0]  # `Image.open` would try the others and has a limit of its own
        self.image: Image.Image = factory(io.BytesIO(content), "")
        self.kind = kind
        self.num_pixels = self.image.size[0] * self.image.size[1]
        self.memory: float = len(content) + _DECODER_BYTES.get(kind, 0) * self.num_pixels
        if kind != "JPEG":  # which is scaled down
            self.memory += self.image_bytes()
        self.orientation = _orientation(self.image)
        self.integers = integers or Integers()

    @property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        """Width and height."""
        return self.image.size

    def image_bytes(self) -> int:
        """Return the size of the decoded image."""
        width, height = self.image.size
        return height * (width * _MODE_BYTES.get(self.image.mode, 4) + ROW_BYTES)

    def load(self) -> None:
        """Decode the first image of the file."""
        self.image.load()
        if self.image.mode.startswith("I"):
            values = cast(NDArray[np.integer], np.asarray(self.image))
            self._pixels = IntegerPixels(values.view(np.uint32) if self.integers.unsigned else values, self.integers)
        if self.kind == "TIFF":
            self.orientation = 1  # Pillow has applied it

    def rows(self, top: int, bottom: int) -> Image.Image:
        """Return some rows as RGB, transparency on white."""
        if self.image.mode.startswith("I"):
            return Image.fromarray(self._pixels.rows(top, bottom)).convert("RGB")
        rows = self.image.crop((0, top, self.image.width, bottom))
        if rows.has_transparency_data:
            coloured = rows.convert("RGBA")
            white = Image.new("RGBA", coloured.size, "white")
            rows = Image.alpha_composite(white, coloured)
        return rows.convert("RGB")


class OpenedPicture(PillowPicture):
    """An image that a program has opened or made with Pillow."""

    def __init__(self, image: Image.Image) -> None:
        if image.mode == "F":
            raise ImageError('has the mode F, whose range is not known; convert it to "L" or "RGB"')
        self.image, self.kind, self.integers = image, image.format or "", Integers()
        self.num_pixels = image.size[0] * image.size[1]
        self.memory = self.image_bytes()
        self.orientation = _orientation(image)


def _orientation(image: Image.Image) -> int:
    """Return EXIF's number of the orientation; 1 if there is none."""
    try:
        noted = Image.Image.getexif(image).get(_ORIENTATION)  # PNG's own `getexif` loads the pixels
    except Exception:  # a damaged note makes Pillow raise almost anything; the pixels are as they are stored
        return 1
    return noted if isinstance(noted, int) else 1


def _open_avif(content: bytes) -> Picture:
    coded = avif.coded_pixels(content)
    picture = PillowPicture(content, "AVIF")
    picture.memory += 2 * len(content) + _CODED_BYTES * coded
    return picture


def _open_bmp(content: bytes) -> Picture:
    picture = PillowPicture(content, "BMP")
    if content[30:34] in (b"\1\0\0\0", b"\2\0\0\0"):
        picture.memory += _SLOW_BYTES * picture.num_pixels
    return picture


def _open_jpeg(content: bytes, least_side: int) -> Picture:
    file = jpeg.essential(content)
    picture = PillowPicture(file.content, "JPEG")
    picture.memory += len(content) + file.coefficients_per_pixel * picture.num_pixels
    if picture.num_pixels > MANY_PIXELS:
        picture.image.draft(None, (least_side, least_side))
    picture.memory += picture.image_bytes()
    return picture


def _open_png(content: bytes) -> Picture:
    found = png.chunks(content)
    if not found:
        raise ValueError("a checksum differs")
    bits = png.significant_bits(content, found)
    integers = Integers(declared=2**bits - 1 if bits and 8 <= bits < 16 else None)
    essential = png.essential(content, found)
    picture = PillowPicture(essential, "PNG", integers)
    picture.memory += len(content)
    if essential[24] == 16 and picture.image.mode in ("RGB", "RGBA"):
        return WidePicture(essential, picture, integers)
    if picture.image.mode.startswith("I"):
        picture.integers = replace(integers, transparent=picture.image.info.get("transparency"))
    return picture


def _open_ppm(content: bytes) -> Picture:
    header = netpbm.read_header(content)
    if header is not None:
        return NetpbmPicture(content, header)
    picture = PillowPicture(content, "PPM")
    if content[1:2] in b"123":
        picture.memory += _SLOW_BYTES * picture.num_pixels
    return picture


def _open_tiff(content: bytes) -> Picture:
    tags = tiff.read_tags(content)
    integers = Integers(
        declared=tags.declared,
        inverted=tags.inverted,
        premultiplied=tags.extra == 1,
        opaque=tags.extra == 0,
        unsigned=tags.bits == 32 and not tags.signed,
    )
    try:
        picture = PillowPicture(content, "TIFF", integers)
    except SyntaxError as error:
        raise tiff.unsupported(tags) from error
    picture.memory += tags.memory(picture.num_pixels)
    return WidePicture(content, picture, integers) if tags.wide_colour else picture


_OPENERS: dict[str, Callable[[bytes], Picture]] = {
    "AVIF": _open_avif,
    "BMP": _open_bmp,
    "PNG": _open_png,
    "PPM": _open_ppm,
    "TIFF": _open_tiff,
}
"""What opens a format that takes more than Pillow's own reading of the header."""
