"""Images with the statistics of photographs: power falls with the square of the frequency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def photographs(count: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Return uint8 (count, 3, 32, 32), each another."""
    generator = np.random.default_rng(seed)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    frequencies[0, 0] = 1 / 32
    noise = generator.normal(size=(count, 3, 32, 32)) + generator.normal(size=(count, 1, 32, 32))
    pictures = np.fft.ifft2(np.fft.fft2(noise) / frequencies).real
    pictures /= pictures.std(axis=(1, 2, 3), keepdims=True)
    return (128 + 45 * pictures).clip(0, 255).astype(np.uint8)
