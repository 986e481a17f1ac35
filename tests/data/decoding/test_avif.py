from __future__ import annotations

import contextlib
import struct

import pytest
from image_bytes import saved, scene
from PIL import Image, features

from cifar100.data.decoding.avif import coded_pixels
from cifar100.data.decoding.formats import ImageError

pytestmark = pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow cannot write AVIF")


@pytest.mark.parametrize("size", [(64, 48), (123, 457), (1920, 1080)])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_the_size_is_that_of_the_coded_frame(size: tuple[int, int], subsampling: str) -> None:
    content = saved(scene(*size), "AVIF", speed=10, subsampling=subsampling)
    assert coded_pixels(content) == size[0] * size[1]
    lie = content.replace(struct.pack(">II", *size), struct.pack(">II", 16, 16))
    assert lie != content
    assert coded_pixels(lie) == size[0] * size[1]


def test_transparency_is_a_second_frame() -> None:
    assert coded_pixels(saved(scene(64, 48, "RGBA"), "AVIF", speed=10)) == 2 * 64 * 48


def test_an_animation_is_refused() -> None:
    frames = [Image.new("RGB", (64, 48), (shade, 0, 0)) for shade in (0, 99, 200)]
    content = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], speed=10)
    with pytest.raises(ImageError, match="animated AVIF"):
        coded_pixels(content)


def test_a_damaged_file_raises_an_error_or_a_size() -> None:
    content = saved(scene(), "AVIF", speed=10)
    for at in range(len(content)):
        with contextlib.suppress(ValueError, KeyError):
            assert coded_pixels(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]) >= 0
