"""The range of integers: a table of files and the value of white in each."""

from __future__ import annotations

import numpy as np
import pytest

from cifar100.data.decoding.formats import ImageError
from cifar100.data.decoding.integers import to_bytes, white_value


@pytest.mark.parametrize(
    ("largest", "declared", "white"),
    [
        (4095, None, 4095),
        (3000, None, 4095),
        (1024, None, 4095),
        (1023, None, 1023),
        (255, None, 255),
        (0, None, 255),
        (16383, None, 16383),
        (16384, None, 65535),
        (65535, None, 65535),
        (900, 4095, 4095),
        (4096, 4095, 16383),
        (50000, 4095, 65535),
        (70000, None, 2**24 - 1),
    ],
)
def test_white_is_what_is_declared_or_the_fewest_usual_bits(largest: int, declared: int | None, white: int) -> None:
    assert white_value(np.array([0, largest], dtype=np.int32), declared=declared) == white


def test_the_whole_range_of_32_bits() -> None:
    assert white_value(np.array([2**32 - 1], dtype=np.uint32)) == 2**32 - 1
    assert to_bytes(np.array([0, 2**31, 2**32 - 1], dtype=np.uint32), 2**32 - 1).tolist() == [0, 128, 255]


def test_values_are_scaled_and_rounded() -> None:
    values = np.arange(4096, dtype=np.uint16)
    assert np.array_equal(to_bytes(values, 4095), (values / 4095 * 255).round())


def test_negative_values_are_refused() -> None:
    with pytest.raises(ImageError, match=r"negative pixels \(minimum -1,024\); shift them"):
        white_value(np.array([-1024, 3000], dtype=np.int16))
