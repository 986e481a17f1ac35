from __future__ import annotations

import numpy as np
import pytest

from cifar100.data.decoding.formats import ImageError
from cifar100.data.decoding.netpbm import MAX_TEXT_BYTES, Header, read_header, read_pixels

VALUES = np.arange(24, dtype=np.uint16).reshape(4, 2, 3) * 150


def test_a_colour_file_of_16_bits_keeps_all_of_them() -> None:
    content = b"P6 # a comment\n 2\t4 4095\n" + VALUES.astype(">u2").tobytes()
    header = read_header(content)
    assert header == Header(2, 4, 3, 4095, 25)
    assert np.array_equal(read_pixels(content, header), VALUES)
    with pytest.raises(ValueError, match="smaller than requested"):
        read_pixels(content[:-1], header)


def test_a_grey_file_of_fewer_bits() -> None:
    content = b"P5\n2 3\n15\n" + bytes(range(6))
    header = read_header(content)
    assert header is not None
    assert read_pixels(content, header).tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("content", [b"P5 2 2 255\n1234", b"P4 8 1\n1", b"P1 2 1\n0 1\n", b"P2 1 1 4095\n17\n"])
def test_what_pillow_reads_as_well_is_left_to_it(content: bytes) -> None:
    assert read_header(content) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P3 1 1 4095\n1 2 3\n", "more than 8 bits per channel"),
        (b"P2 1 1 255\n#\n17\n", "with comments"),
        (b"P2 1 1 255\n".ljust(MAX_TEXT_BYTES + 1, b" "), "or over 16,777,216 bytes"),
    ],
)
def test_slow_or_lossy_text_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_header(content)


@pytest.mark.parametrize("content", [b"P6", b"P6 1 1", b"P5 1234567890 1 255\n", b"P6 " + b"#\n" * 40_000 + b"1 1 9\n"])
def test_a_damaged_header(content: bytes) -> None:
    with pytest.raises(ValueError, match="no header"):
        read_header(content)
