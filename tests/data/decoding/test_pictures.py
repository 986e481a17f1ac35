"""The pixels of every kind of file against their formula: depths, signs, transparency, orientation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from image_bytes import chunk, png_file, saved, scene, tiff_of
from numpy.typing import NDArray
from PIL import Image

from cifar100.data.decoding.decode import decode_image
from cifar100.data.decoding.formats import ImageError
from cifar100.data.decoding.memory import Memory

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")

SIDE = 32
ORIENTATION = 0x0112


def decoded(content: bytes) -> NDArray[np.uint8]:
    return decode_image(content, Memory(), side=32)


def noise(*channels: int, bits: int, kind: Any = np.uint16) -> NDArray[Any]:
    values = np.random.default_rng(0).integers(0, 2**bits, (SIDE, SIDE, *channels))
    values.flat[:4] = 2**bits - 1
    return values.astype(kind)


def scaled(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    shown = (values / (2**bits - 1) * 255).round().astype(np.uint8)
    return shown if shown.ndim == 3 else np.stack([shown] * 3, 2)


GREY_12, COLOUR_12, GREY_16, COLOUR_16 = (
    noise(bits=12),
    noise(3, bits=12),
    noise(bits=16),
    noise(3, bits=16),
)
BIG = ">u2"

RANGES: dict[str, tuple[bytes, NDArray[np.uint8]]] = {
    "grey PNG, 12 bits": (png_file(GREY_12, colour=0), scaled(GREY_12, 12)),
    "grey PNG, 16 bits": (png_file(GREY_16, colour=0), scaled(GREY_16, 16)),
    "colour PNG, 12 bits": (png_file(COLOUR_12, colour=2), scaled(COLOUR_12, 12)),
    "colour PNG, 16 bits": (png_file(COLOUR_16, colour=2), scaled(COLOUR_16, 16)),
    "dark grey PNG, 12 bits declared": (
        png_file(GREY_12 // 8, colour=0, extra=chunk(b"sBIT", b"\x0c")),
        scaled(GREY_12 // 8, 12),
    ),
    "grey PNG that uses its storage, 12 bits declared": (
        png_file(GREY_16, colour=0, extra=chunk(b"sBIT", b"\x0c")),
        scaled(GREY_16, 16),
    ),
    "grey TIFF, 12 bits": (tiff_of(GREY_12), scaled(GREY_12, 12)),
    "grey TIFF, big-endian": (tiff_of(GREY_12, order=">"), scaled(GREY_12, 12)),
    "dark grey TIFF, maximum declared": (tiff_of(GREY_12 // 8, t281=4000), scaled(GREY_12 // 8, 12)),
    "grey TIFF, 0 is white": (tiff_of(GREY_12, t262=0), 255 - scaled(GREY_12, 12)),
    "colour TIFF, 10 bits": (tiff_of(COLOUR_12 // 4), scaled(COLOUR_12 // 4, 10)),
    "colour TIFF, big-endian": (tiff_of(COLOUR_16, order=">"), scaled(COLOUR_16, 16)),
    "grey TIFF, signed 16 bits": (tiff_of(GREY_12.astype(np.int16)), scaled(GREY_12, 12)),
    "grey TIFF, signed 32 bits": (tiff_of(GREY_16.astype(np.int32)), scaled(GREY_16, 16)),
    "grey TIFF, unsigned 32 bits": (
        tiff_of(noise(bits=32, kind=np.uint32)),
        scaled(noise(bits=32, kind=np.uint32), 32),
    ),
    "PGM, 12 bits": (b"P5 32 32 4095\n" + GREY_12.astype(BIG).tobytes(), scaled(GREY_12, 12)),
    "PGM, 12 bits in 16": (b"P5 32 32 65535\n" + GREY_12.astype(BIG).tobytes(), scaled(GREY_12, 12)),
    "PPM, 12 bits in 16": (b"P6 32 32 65535\n" + COLOUR_12.astype(BIG).tobytes(), scaled(COLOUR_12, 12)),
    "8 bits in a 16-bit PNG": (png_file(GREY_12 // 16, colour=0), scaled(GREY_12 // 16, 8)),
    "grey PNG, 8 bits, dark": (png_file(GREY_12 // 256, colour=0, bits=8), scaled(GREY_12 // 256, 8)),
    "bilevel": (saved(Image.fromarray(GREY_12 > 2000), "PNG"), scaled((GREY_12 > 2000) * 255, 8)),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_range_of_integers(name: str) -> None:
    content, expected = RANGES[name]
    assert np.abs(decoded(content).astype(int) - expected).max() <= (1 if "32 bits" in name else 0)


def on_white(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    fraction = alpha[..., None] / alpha.max()
    return colours / colours.max() * 255 * fraction + 255 * (1 - fraction)


def test_transparency_of_16_bits_is_laid_on_white() -> None:
    pixels = noise(4, bits=16)
    expected = on_white(pixels[..., :3], pixels[..., 3])
    both = pixels[..., :2]
    for content, wanted in [
        (png_file(pixels, colour=6), expected),
        (png_file(both, colour=4), on_white(np.stack([both[..., 0]] * 3, 2), both[..., 1])),
        (tiff_of(pixels, t338=2), expected),
        (tiff_of(pixels, t338=0), pixels[..., :3] / 65535 * 255),
    ]:
        assert np.abs(decoded(content) - wanted).max() <= 1
    premultiplied = (pixels * (pixels[..., 3:] / 65535)).astype(np.uint16)
    premultiplied[..., 3] = pixels[..., 3]
    premultiplied[0, 0] = 65535
    expected[0, 0] = 255
    assert np.abs(decoded(tiff_of(premultiplied, t338=1)) - expected).max() <= 1


def test_a_transparent_grey_value_of_16_bits_is_white() -> None:
    values = GREY_16.copy()
    values[:5] = 1234
    image = decoded(png_file(values, colour=0, extra=chunk(b"tRNS", (1234).to_bytes(2))))
    assert (image[:5] == 255).all()
    assert np.array_equal(image[5:], scaled(values, 16)[5:])


def test_negative_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="negative pixels"):
        decoded(tiff_of(np.full((4, 4), -1000, dtype=np.int16)))


def upright(orientation: int) -> NDArray[Any]:
    """The scene after what the EXIF standard says about each orientation."""
    pixels = np.asarray(scene(SIDE, SIDE))
    changes: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: image.transpose(1, 0, 2),
        6: lambda image: np.rot90(image, -1),
        7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
        8: np.rot90,
    }
    return changes[orientation](pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format_that_has_one(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image, expected = scene(SIDE, SIDE), upright(orientation)
    for kind, options in (
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ):
        assert np.array_equal(decoded(saved(image, kind, exif=exif, **options)), expected), kind
    note = b"XML:com.adobe.xmp\0\0\0\0\0" + f'<x tiff:Orientation="{orientation}"/>'.encode()
    behind_pixels = saved(image, "PNG").replace(chunk(b"IEND", b""), chunk(b"iTXt", note) + chunk(b"IEND", b""))
    assert np.array_equal(decoded(behind_pixels), expected)
    wide = np.asarray(image).astype(np.uint16) * 257
    assert np.array_equal(decoded(tiff_of(wide, t274=orientation)), expected)
    assert np.array_equal(decoded(png_file(wide, colour=2, extra=chunk(b"eXIf", exif.tobytes()[6:]))), expected)
    assert np.abs(decoded(saved(image, "JPEG", exif=exif, quality=100, subsampling=0)).astype(int) - expected).max() < 5


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_a_damaged_orientation_is_none(exif: bytes) -> None:
    image = scene(SIDE, SIDE)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        assert np.array_equal(decoded(saved(image, kind, exif=exif, **options)), np.asarray(image))
    assert decoded(saved(image, "JPEG", exif=exif)).shape == (SIDE, SIDE, 3)


def test_the_first_frame_of_an_animation() -> None:
    frames = [scene(SIDE, SIDE), scene(SIDE, SIDE).transpose(Image.Transpose.ROTATE_90)]
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.array_equal(decoded(content), np.asarray(frames[0])), kind
    shown = decoded(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert np.abs(shown.astype(int) - np.asarray(frames[0])).max() < 40


def test_kinds_that_pillow_does_not_know_are_named() -> None:
    with pytest.raises(ImageError, match="has 2 x 16 bits per pixel in a form that is not supported"):
        decoded(tiff_of(noise(2, bits=16), t262=1))
