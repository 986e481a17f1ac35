"""`read_image` against an independent Pillow computation in every place that reads images; the files of a release."""

from __future__ import annotations

import csv
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_bytes import png_file, scene, tiff_of
from numpy.typing import NDArray
from PIL import Image, ImageOps, features
from small_folder import make_folder
from torch import nn

from cifar100.config import Config
from cifar100.data.folder import image_files
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.image_files import (
    encode_png,
    image_file_names,
    labels_csv,
    read_image,
    thumbnail,
    write_images,
)
from cifar100.data.folder.layout import DataFolder
from cifar100.data.loading.dataset import CsvImageDataset
from cifar100.data.sources.release import ReleaseSplit
from cifar100.errors import UserError
from cifar100.results.prediction.inputs import find_images
from cifar100.results.prediction.stream import PredictionStream
from cifar100.runs.trained_network import TrainedNetwork

ORIENTATION = 0x0112


def noise(*shape: int, largest: int = 255) -> NDArray[np.int64]:
    """Smooth enough that a wrong resampling filter, and rough enough that a wrong crop, changes the result."""
    return np.random.default_rng(0).integers(0, largest + 1, shape)


def picture(width: int, height: int, mode: str) -> Image.Image:
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,), "CMYK": (4,)}[mode]
    return Image.fromarray(noise(height, width, *channels).astype(np.uint8), mode)


def saved(image: Image.Image, path: Path, **options: object) -> None:
    image.save(path, **options)  # type: ignore[arg-type]


def wide(path: Path) -> NDArray[np.uint8]:
    image = picture(120, 60, "RGB")
    saved(image, path)
    return np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC, box=(30, 0, 90, 60)))


def tall(path: Path) -> NDArray[np.uint8]:
    image = picture(20, 50, "RGB")
    saved(image, path)
    return np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC, box=(0, 15, 20, 35)))


def transparent(path: Path) -> NDArray[np.uint8]:
    image = picture(32, 32, "RGBA")
    saved(image, path)
    pixels = np.asarray(image).astype(float)
    alpha = pixels[:, :, 3:] / 255
    return (pixels[:, :, :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


def transparent_colour(path: Path) -> NDArray[np.uint8]:
    """RGB in which one colour is declared transparent; the header is that of a plain image."""
    pixels = np.full((32, 32, 3), 40, dtype=np.uint8)
    pixels[:16] = (200, 10, 30)
    saved(Image.fromarray(pixels), path, transparency=(200, 10, 30))
    pixels[:16] = 255
    return pixels


def palette(path: Path) -> NDArray[np.uint8]:
    image = picture(32, 32, "RGB").quantize(64)
    saved(image, path)
    colours = np.array(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
    return colours[np.asarray(image)]


def grey(path: Path) -> NDArray[np.uint8]:
    image = picture(32, 32, "L")
    saved(image, path)
    return np.stack([np.asarray(image)] * 3, axis=2)


def sixteen_bits(path: Path) -> NDArray[np.uint8]:
    values = noise(32, 32, largest=65535).astype(np.uint16)
    saved(Image.fromarray(values), path)
    return np.stack([(values / 257).round().astype(np.uint8)] * 3, axis=2)


def rotated(path: Path) -> NDArray[np.uint8]:
    """The camera was turned by 90 degrees; also in a file of our own size, which has a quick path."""
    image = picture(32, 32, "RGB")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    saved(image, path, exif=exif)
    return np.rot90(np.asarray(image), -1)


def rotated_photograph(path: Path) -> NDArray[np.uint8]:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    saved(picture(64, 48, "RGB"), path, exif=exif, format="JPEG", quality=95)
    with Image.open(path) as image:
        upright = image.transpose(Image.Transpose.ROTATE_270)
    return np.asarray(upright.resize((32, 32), Image.Resampling.BICUBIC, box=(0, 8, 48, 56)))


def plain(path: Path) -> NDArray[np.uint8]:
    image = picture(32, 32, "RGB")
    saved(image, path)
    return np.asarray(image)


def twelve_bits(path: Path) -> NDArray[np.uint8]:
    """The values of a microscope or a scanner of 12 bits, stored with 16."""
    values = noise(32, 32, largest=4095).astype(np.uint16)
    path.write_bytes(tiff_of(values))
    return np.stack([(values / 4095 * 255).round().astype(np.uint8)] * 3, axis=2)


def twelve_bits_in_colour(path: Path) -> NDArray[np.uint8]:
    values = noise(32, 32, 3, largest=4095).astype(np.uint16)
    path.write_bytes(png_file(values, colour=2))
    return (values / 4095 * 255).round().astype(np.uint8)


def grey_with_transparency(path: Path) -> NDArray[np.uint8]:
    image = picture(32, 32, "LA")
    saved(image, path)
    pixels = np.asarray(image).astype(float)
    alpha = pixels[:, :, 1:] / 255
    return np.tile((pixels[:, :, :1] * alpha + 255 * (1 - alpha)).round(), 3).astype(np.uint8)


def print_colours(path: Path) -> NDArray[np.uint8]:
    image = picture(32, 32, "CMYK")
    saved(image, path, format="TIFF")
    inks = np.asarray(image).astype(float) / 255
    return (255 * (1 - inks[:, :, :3]) * (1 - inks[:, :, 3:])).round().astype(np.uint8)


def webp(path: Path) -> NDArray[np.uint8]:
    image = picture(32, 32, "RGB")
    saved(image, path, format="WEBP", lossless=True)
    return np.asarray(image)


def avif(path: Path) -> NDArray[np.uint8]:
    if not features.check("avif"):
        pytest.skip("this build of Pillow cannot write AVIF")
    saved(scene(40, 30), path, format="AVIF", quality=100, subsampling="4:4:4")
    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image, (32, 32), method=Image.Resampling.BICUBIC))


def appended(path: Path) -> NDArray[np.uint8]:
    """A PNG file with bytes behind its end, as some programs write it."""
    pixels = plain(path)
    path.write_bytes(path.read_bytes() + b"more")
    return pixels


CASES: list[Callable[[Path], NDArray[np.uint8]]] = [
    wide,
    tall,
    transparent,
    transparent_colour,
    palette,
    grey,
    sixteen_bits,
    rotated,
    rotated_photograph,
    plain,
    twelve_bits,
    twelve_bits_in_colour,
    grey_with_transparency,
    print_colours,
    webp,
    avif,
    appended,
]


class Echo(nn.Module):
    """Keeps the images that it receives."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images = images
        return torch.zeros(len(images), 5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_all_who_read_an_image_get_the_pixels_that_pillow_computes(
    case: Callable[[Path], NDArray[np.uint8]], tmp_path: Path
) -> None:
    path = tmp_path / "image.png"
    expected = case(path)
    tolerance = 1 if case in (transparent, grey_with_transparency, print_colours) else 0  # Pillow composes in 8 bits
    assert np.abs(read_image(path).astype(int) - expected).max() <= tolerance

    (tmp_path / "other.png").write_bytes(encode_png(noise(3, 32, 32).astype(np.uint8)))
    (tmp_path / "train.csv").write_text("file,fine_label\nimage.png,0\nother.png,1\n")
    prepare_custom(tmp_path)
    packed = DataFolder(tmp_path).load("train")[0][0]
    from_file, _ = CsvImageDataset(tmp_path / "train.csv", tmp_path)[0]
    network = Echo()
    info = replace(make_folder(tmp_path / "small"), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    trained = TrainedNetwork(
        network=network,
        config=Config(),
        info=info,
        checkpoint=Path("best.ckpt"),
        epoch=1,
        averaged=False,
        device=torch.device("cpu"),
    )
    list(PredictionStream(trained, find_images([path])))
    predicted = (network.images[0] * 255).round().byte().numpy()
    for pixels in (packed, from_file.numpy(), predicted):
        assert np.array_equal(pixels, read_image(path).transpose(2, 0, 1))


def test_plain_files_take_the_quick_path_and_others_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick: list[str] = []
    decode = image_files._decode_plain_png

    def spy(content: bytes) -> NDArray[np.uint8] | None:
        quick.append("")
        return decode(content)

    monkeypatch.setattr(image_files, "_decode_plain_png", spy)
    for case in CASES:
        case(tmp_path / "image.png")
        before = len(quick)
        read_image(tmp_path / "image.png")
        assert (len(quick) > before) == (case in (plain, appended))


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (640, 480), (32, 33), (64, 64)])
def test_any_size(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "image.png")
    assert np.array_equal(read_image(tmp_path / "image.png"), np.tile(np.array([255, 0, 0], np.uint8), (32, 32, 1)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_any_mode(mode: str, tmp_path: Path) -> None:
    white = {"1": 1, "I;16": 65535, "I": 65535, "LA": (255, 255), "RGBA": (255, 255, 255, 255)}
    white |= {"CMYK": (0, 0, 0, 0), "YCbCr": (255, 128, 128), "RGB": (255, 255, 255)}
    image = (
        Image.new("L", (40, 40), 255).convert("P") if mode == "P" else Image.new(mode, (40, 40), white.get(mode, 255))
    )
    path = tmp_path / ("image.png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "image.tiff")
    image.save(path)
    assert read_image(path).mean() > 250


def test_a_larger_image_is_filtered_not_sampled(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))  # one pixel wide
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    inner = read_image(tmp_path / "stripes.png")[:, 2:-2]
    assert np.abs(inner.astype(int) - 127).max() <= 1


def test_what_is_not_an_image_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    cut = tmp_path / "cut.png"
    picture(64, 64, "RGB").save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    changed = tmp_path / "changed.png"
    plain(changed)
    content = bytearray(changed.read_bytes())
    content[1500] ^= 0xFF
    changed.write_bytes(content)
    for path in (tmp_path / "empty.png", tmp_path / "text.png", cut, changed):
        with pytest.raises(UserError) as caught:
            read_image(path)
        size = path.stat().st_size
        assert str(caught.value) == f"{path} is damaged or not an image ({size:,} bytes); restore it or leave it out."
    with pytest.raises(UserError, match=r"missing\.png cannot be read \(No such file or directory\)\.$"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(UserError, match=r"cannot be read \(not a regular file\)\.$"):
        read_image(tmp_path)


@pytest.mark.parametrize("side", [16_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(side: int, tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match=f"has {side**2:,} pixels and takes .* expected at most .*; scale it down"):
        read_image(path)


def test_a_file_is_refused_by_its_size_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(50 * 2**30)
    with pytest.raises(UserError, match=r"sparse\.png has 53,687,091,200 bytes, expected at most 536,870,912"):
        read_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no FIFOs")
def test_a_fifo_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("fifo.png", "device.png"):
        with pytest.raises(UserError, match=r"cannot be read \(not a regular file\)"):
            read_image(tmp_path / name)


def test_too_little_memory_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(content: bytes, memory: object, *, side: int) -> None:
        raise MemoryError

    saved(picture(64, 64, "RGB"), tmp_path / "image.png")
    monkeypatch.setattr(image_files, "decode_image", decode)
    with pytest.raises(UserError, match="takes more memory to read than is free; scale it down"):
        read_image(tmp_path / "image.png")


def test_a_large_file_is_read_alone(tmp_path: Path) -> None:
    """It holds the memory of all, also while other threads read small ones."""
    large, small = tmp_path / "large.bmp", tmp_path / "small.png"
    picture(2500, 2400, "RGB").save(large)
    expected = plain(small)
    assert large.stat().st_size > 16 * 2**20
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(read_image, [large, small, small] * 4))
    assert all(np.array_equal(images[0], image) for image in images[::3])
    assert all(np.array_equal(expected, image) for image in images[1::3])


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.tiff"
    Image.fromarray(np.random.default_rng(0).random((40, 40), dtype=np.float32)).save(path)
    with pytest.raises(UserError, match="floating-point pixels; save it with 8 or 16 bits per channel"):
        read_image(path)


def test_names_are_safe_on_every_file_system() -> None:
    names = image_file_names(np.array([1, 0]), ("apple", "a/b: ü"))
    assert names == ["00000_a_b___.png", "00001_apple.png"]


def test_written_images_are_read_back_and_others_are_removed(tmp_path: Path) -> None:
    info = replace(make_folder(tmp_path), superclass_names=("all",), class_to_superclass=(0,) * 5)
    images = noise(4, 3, 32, 32).astype(np.uint8)
    labels = np.array([0, 3, 3, 1])
    split = ReleaseSplit(images=images, fine_labels=labels, coarse_labels=np.zeros(4, dtype=np.int64))
    folder = tmp_path / "train"
    folder.mkdir()
    for name in ("00007_class_1.png", "notes.txt"):
        (folder / name).touch()
    write_images(split, info, folder)
    names = image_file_names(labels, info.class_names)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "notes.txt"])
    for name, image in zip(names, images, strict=True):
        assert np.array_equal(read_image(folder / name).transpose(2, 0, 1), image)
    rows = list(csv.DictReader(labels_csv(labels, info, split="train").decode().splitlines()))
    assert [row["file"] for row in rows] == [f"train/{name}" for name in names]
    assert rows[1] == {
        "file": "train/00001_class_3.png",
        "fine_label": "3",
        "fine_name": "class_3",
        "superclass_label": "0",
        "superclass_name": "all",
    }


def test_the_oracle_agrees_with_pillows_own_fit(tmp_path: Path) -> None:
    expected = np.asarray(ImageOps.fit(picture(120, 60, "RGB"), (32, 32), method=Image.Resampling.BICUBIC))
    assert np.array_equal(wide(tmp_path / "image.png"), expected)


def test_a_thumbnail_is_the_mean_over_blocks_of_a_larger_image_and_a_smaller_one_as_it_is() -> None:
    image = noise(3, 96, 64).astype(np.uint8)
    assert thumbnail(image, 96) is image
    blocks = image.reshape(3, 48, 2, 32, 2).mean(axis=(2, 4))
    reduced = thumbnail(image, 48)
    assert (reduced.shape, reduced.dtype) == ((3, 48, 32), np.uint8)
    assert np.abs(reduced - blocks).max() <= 1  # Pillow rounds after each of two directions
