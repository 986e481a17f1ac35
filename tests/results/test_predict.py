"""Any image file a person may have; whole predictions are tested in tests/test_end_to_end.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifar100.errors import UserError
from cifar100.results.predict import load_image

RED = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None].expand(3, 32, 32)


def test_a_32_pixel_image_is_read_pixel_by_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    assert torch.equal(load_image(tmp_path / "image.png"), torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (640, 480), (32, 33)])
def test_any_size(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "image.png")
    assert torch.equal(load_image(tmp_path / "image.png"), RED)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_any_mode(mode: str, tmp_path: Path) -> None:
    white = {"1": 1, "I;16": 65535, "I": 65535, "F": 255.0, "LA": (255, 255), "RGBA": (255, 255, 255, 255)}
    white |= {"CMYK": (0, 0, 0, 0), "YCbCr": (255, 128, 128), "RGB": (255, 255, 255)}
    image = (
        Image.new("L", (40, 40), 255).convert("P") if mode == "P" else Image.new(mode, (40, 40), white.get(mode, 255))
    )
    path = tmp_path / ("image.png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "image.tiff")
    image.save(path)
    assert load_image(path).float().mean() > 250


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[:32] = (255, 0, 0)  # red above; turned by 90 degrees it is on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "image.png", exif=exif)
    image = load_image(tmp_path / "image.png")
    assert image[0, :, 20:].float().mean() > 250
    assert image[0, :, :12].float().mean() < 5


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (32, 32), (255, 0, 0, 0)).save(tmp_path / "image.png")
    assert load_image(tmp_path / "image.png").min() == 255


def test_what_is_no_image_gets_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    cut = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    for path, message in [(text, "cannot be read as an image"), (cut, "cannot be read as an image")]:
        with pytest.raises(UserError, match=message) as caught:
            load_image(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there is no file"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(UserError, match="cannot be read as an image"):
        load_image(tmp_path)


@pytest.mark.parametrize("side", [15_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(side: int, tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match="pixels; scale it down"):
        load_image(path)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.tiff"
    Image.fromarray(np.random.default_rng(0).random((40, 40), dtype=np.float32)).save(path)
    with pytest.raises(UserError, match="floating-point numbers; save it with 8 or 16 bits"):
        load_image(path)
