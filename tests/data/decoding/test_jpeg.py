from __future__ import annotations

import io

import numpy as np
import pytest
from image_bytes import saved, scene
from PIL import Image

from cifar100.data.decoding import jpeg
from cifar100.data.decoding.formats import ImageError


def test_the_copy_has_the_same_pixels_and_one_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(scene(), "JPEG", exif=exif, icc_profile=bytes(200_000), comment=bytes(60_000), quality=95)
    twice = content[:2] + content[content.index(b"\xff\xe1") :]
    essential = jpeg.essential(twice).content
    assert len(essential) < len(content) - 250_000
    with Image.open(io.BytesIO(content)) as image, Image.open(io.BytesIO(essential)) as copy:
        assert np.array_equal(np.asarray(image), np.asarray(copy))
        assert copy.getexif()[0x0112] == 6
        assert "icc_profile" not in copy.info


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0),
        ({"progressive": True, "subsampling": 0}, 6),
        ({"progressive": True, "subsampling": 2}, 3),
        ({"progressive": True, "subsampling": 1}, 4),
    ],
)
def test_the_memory_of_several_scans(options: dict[str, object], expected: float) -> None:
    assert jpeg.essential(saved(scene(), "JPEG", **options)).coefficients_per_pixel == expected
    grey = jpeg.essential(saved(scene(mode="L"), "JPEG", progressive=True))
    assert grey.coefficients_per_pixel == 2


def test_too_many_scans_are_refused() -> None:
    content = saved(scene(), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    assert jpeg.essential(content[:-2] + last * 80 + b"\xff\xd9")
    with pytest.raises(ImageError, match="more than 100 scans"):
        jpeg.essential(content[:-2] + last * 100 + b"\xff\xd9")
    assert jpeg.essential(content + last * 200)  # behind the end: a video of a phone


@pytest.mark.parametrize(("marker", "bits", "message"), [(0xC0, 12, "12 bits per channel"), (0xC3, 8, "SOF3")])
def test_rare_kinds_are_refused_by_name(marker: int, bits: int, message: str) -> None:
    content = bytearray(saved(scene(), "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 1], content[at + 4] = marker, bits
    with pytest.raises(ImageError, match=message):
        jpeg.essential(bytes(content))


def test_a_header_without_end_is_damaged() -> None:
    content = saved(scene(), "JPEG")
    for cut in range(2, content.index(b"\xff\xda")):
        with pytest.raises(ValueError, match=r"no segment|no frame"):
            jpeg.essential(content[:cut])
