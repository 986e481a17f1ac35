"""One rule for the range of integer pixels with more than 8 bits, for every format, in training and predict.

The value that becomes white is the maximum that the file declares: its number of significant bits (`sBIT` in PNG, bits
per sample or `MaxSampleValue` in TIFF, `maxval` in PPM). If it declares only the 16 or 32 bits of its storage, or if a
pixel is larger, white is the maximum of the fewest of 8, 10, 12, 14, 16, 24 and 32 bits that hold every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class Integers:
    """How the values of integer pixels with more than 8 bits are to be read."""

    declared: int | None = None
    """The maximum that the file declares."""

    inverted: bool = False
    """0 is white."""

    premultiplied: bool = False
    """The colours have been multiplied by the fourth channel, transparency."""

    opaque: bool = False
    """The fourth channel is not transparency."""

    transparent: int | None = None
    """The grey value that is transparent."""

    unsigned: bool = False
    """Pillow's signed 32 bits hold an unsigned number."""


class IntegerPixels:
    """Decoded pixels with more than 8 bits.

    colours: (H, W) or (H, W, 3). alpha: (H, W).
    """

    def __init__(
        self, colours: NDArray[np.integer], integers: Integers, *, alpha: NDArray[np.integer] | None = None
    ) -> None:
        self._colours, self._integers = colours, integers
        self._alpha = None if integers.opaque else alpha
        self._white = white_value(colours, declared=integers.declared)
        self._opaque = 1 if self._alpha is None else white_value(self._alpha)

    def rows(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """Return some rows with 8 bits, transparency on white."""
        colours = self._colours[top:bottom]
        shown = to_bytes(colours, self._white)
        if self._integers.inverted:
            shown = 255 - shown
        if self._alpha is not None:
            alpha = (self._alpha[top:bottom] / np.float32(self._opaque))[..., None]
            composed = shown * (1 if self._integers.premultiplied else alpha) + 255 * (1 - alpha)
            shown = composed.round().clip(0, 255).astype(np.uint8)
        if self._integers.transparent is not None:
            shown[colours == self._integers.transparent] = 255
        return shown
