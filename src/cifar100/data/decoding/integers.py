"""One rule for the range of integer pixels with more than 8 bits, for every format, in training and predict.

The value that becomes white is the maximum that the file declares: its number of significant bits (`sBIT` in PNG, bits
per sample or `MaxSampleValue` in TIFF, `maxval` in PPM). If it declares only the 16 or 32 bits of its storage, or if a
pixel is larger, white is the maximum of the fewest of 8, 10, 12, 14, 16, 24 and 32 bits that hold every pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cifar100.data.decoding.formats import ImageError

DEPTHS = (8, 10, 12, 14, 16, 24, 32)
"""Usual depths of a sensor or a file, in bits."""


def white_value(values: NDArray[np.integer], *, declared: int | None = None) -> int:
    """Return the value that becomes 255.

    declared: the maximum that the file declares, None if that is the maximum of its storage.

    Raises:
        ImageError: a value is negative.
    """
    if values.dtype.kind == "i" and (smallest := int(values.min())) < 0:
        raise ImageError(f"has negative pixels (minimum {smallest:,}); shift them to 0 and above, or leave it out")
    largest = int(values.max())
    if declared is not None and largest <= declared:
        return declared
    return int(2 ** next(depth for depth in DEPTHS if largest < 2**depth) - 1)


def to_bytes(values: NDArray[np.integer], white: int) -> NDArray[np.uint8]:
    """Scale 0..white to 0..255, rounded."""
    scaled: NDArray[np.float32] = values * np.float32(255 / white)
    return scaled.round().astype(np.uint8)
