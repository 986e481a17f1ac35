"""The statistics and the identity of packed arrays, and how they are written."""

from __future__ import annotations

import numpy as np
import pytest

from cifar100.data.packed_arrays import channel_statistics


def test_channel_statistics_are_those_of_numpy_in_double_precision() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1500, 3, 8, 8), dtype=np.uint8)
    images[:, 1] //= 4
    mean, std = channel_statistics(images)
    values = images.astype(np.float64) / 255
    assert mean == pytest.approx(values.mean(axis=(0, 2, 3)), rel=1e-12)
    assert std == pytest.approx(values.std(axis=(0, 2, 3)), rel=1e-9)
    assert channel_statistics(np.full((2, 3, 4, 4), 51, np.uint8)) == ((0.2,) * 3, (0.0,) * 3)
