from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from image_bytes import tiff_file, tiff_of

from cifar100.data.decoding.formats import ImageError
from cifar100.data.decoding.tiff import MAX_TAG_BYTES, read_tags

GREY = np.zeros((4, 6), dtype=np.uint16)
COLOUR = np.zeros((4, 6, 3), dtype=np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_tags_are_read(order: str) -> None:
    tags = read_tags(tiff_of(COLOUR, order=order, t274=6, t322=64, t323=32))
    assert (tags.bits, tags.samples, tags.planar, tags.signed, tags.inverted) == (16, 3, False, False, False)
    assert (tags.declared, tags.extra, tags.rotated, tags.tile_bytes) == (None, None, True, 64 * 32 * 6)
    assert tags.wide_colour
    assert tags.memory(1000) == 1000 * 10 + 64 * 32 * 6 + 400
    assert read_tags(tiff_of(GREY.astype(np.int16), order=order, t262=0)).inverted
    assert read_tags(tiff_of(GREY.astype(np.int16), order=order)).signed


@pytest.mark.parametrize(("maximum", "declared"), [(0, None), (4095, 4095), (3871, 4095), (65535, None), (7, None)])
def test_the_declared_maximum_has_all_its_bits_set(maximum: int, declared: int | None) -> None:
    assert read_tags(tiff_of(GREY, t281=maximum)).declared == declared


def test_twelve_bits_per_sample_declare_their_maximum() -> None:
    assert read_tags(tiff_file({256: 2, 257: 2, 258: 12, 262: 1, 273: 8, 279: 6}, bytes(6))).declared == 4095


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff_of(GREY.astype(np.float32)), "floating-point pixels"),
        (tiff_of(GREY, t259=34925), "TIFF compression 34925, which is not supported"),
        (tiff_of(COLOUR, t284=2), "separate planes"),
        (tiff_of(GREY.astype(np.int8)), "signed pixels of 8 bits"),
        (tiff_of(COLOUR.astype(np.uint8), t262=8), "has CIELab colours, expected"),
        (tiff_of(COLOUR[..., :2].astype(np.uint8), t338=1), "2 x 8 bits per pixel in a form"),
        (tiff_of(np.zeros((2, 2, 4), np.uint16), t262=5), "CMYK pixels of 16 bits"),
        (tiff_file({256: 1, 257: 1, 273: [8] * 10, 700: [0] * (MAX_TAG_BYTES // 4)}), "bytes of TIFF tags"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_tags(content)


def test_tags_in_subdirectories_and_overlapping_ones_count() -> None:
    """Three directories refer to the same two megabytes."""
    content = tiff_file({256: 1, 257: 1, 34665: 0}, bytes(2 * 2**20))
    entry = struct.pack("<HHHII", 1, 700, 4, 2**19, 8) + bytes(4)
    content = content.replace(struct.pack("<HHII", 34665, 4, 1, 0), struct.pack("<HHII", 34665, 4, 1, len(content)))
    assert read_tags(content + entry)
    many = struct.pack("<H", 3) + struct.pack("<HHII", 700, 4, 2**19, 8) * 3 + bytes(4)
    with pytest.raises(ImageError, match="bytes of TIFF tags"):
        read_tags(content + many)


def test_a_cut_file_is_damaged_or_has_other_tags() -> None:
    content = tiff_of(COLOUR)
    for cut in range(8):
        with pytest.raises((ValueError, struct.error)):
            read_tags(content[:cut])
    for cut in range(8, len(content)):
        with contextlib.suppress(ValueError, struct.error):
            read_tags(content[:cut])
