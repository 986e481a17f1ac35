"""The images in a page: small ones as they are, large ones no larger than the page can show."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cifar100.results.report.pictures import PICTURE_SIDE, Pictures


def decoded(uri: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.mark.parametrize(("side", "shown"), [(32, 32), (PICTURE_SIDE, PICTURE_SIDE), (192, 96), (288, 96)])
def test_large_images_are_reduced(side: int, shown: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    pictures = Pictures(images=images, files=["a", "b"])
    pixels = images[1].transpose(1, 2, 0).astype(float)
    factor = side // shown
    expected = pixels.reshape(shown, factor, shown, factor, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(decoded(pictures.picture(1)), expected, atol=1)
    everything = np.ones((side, side), dtype=np.float32)
    np.testing.assert_array_equal(decoded(pictures.spotlit(1, everything)), decoded(pictures.picture(1)))
