"""Images in memory have the pixels that their files would have; what is refused; how far threads read ahead."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cifar100.data import given_images
from cifar100.data.folder import image_files
from cifar100.data.given_images import named_images, read_ahead
from cifar100.errors import UserError

read_image = partial(image_files.read_image, side=32)
read_given = partial(given_images.read_given, side=32)
pixel_batches = partial(given_images.pixel_batches, side=32)

SCENE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def file_of(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "LA", "RGBA", "P", "I;16"])
def test_an_image_of_pillow_has_the_pixels_of_its_file(mode: str, tmp_path: Path) -> None:
    grey = SCENE[..., 0].astype(np.uint16) * 257
    image = Image.fromarray(grey) if mode == "I;16" else Image.fromarray(SCENE).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(SCENE[..., 1]))
    assert image.mode == mode
    path = file_of(image, tmp_path / "image.png")
    expected = read_image(path)
    assert np.array_equal(read_given("x", image), expected)
    with Image.open(path) as opened:
        assert np.array_equal(read_given("x", opened), expected)
    assert np.array_equal(read_given("x", path.read_bytes()), expected)
    assert np.array_equal(read_given("x", str(path)), expected)


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_the_orientation_of_an_image_of_pillow_is_applied(kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = file_of(Image.fromarray(SCENE), tmp_path / f"image.{kind}", exif=exif)
    with Image.open(path) as opened:
        assert np.array_equal(read_given("x", opened), read_image(path))
    with Image.open(path) as opened:
        opened.load()
        assert np.array_equal(read_given("x", opened), read_image(path))


def test_pixels_of_any_size_and_layout_are_those_of_an_image(tmp_path: Path) -> None:
    expected = read_image(file_of(Image.fromarray(SCENE), tmp_path / "image.png"))
    channels_first = SCENE.transpose(2, 0, 1)
    for given in (SCENE, channels_first, torch.from_numpy(SCENE), torch.from_numpy(channels_first.copy())):
        ((name, image),) = named_images(given)
        assert name == "images[0]"
        assert np.array_equal(read_given(name, image), expected)
        batch = np.stack([given, given]) if isinstance(given, np.ndarray) else torch.stack([given, given])
        ((pixels),) = pixel_batches(batch)
        assert np.array_equal(pixels, np.stack([expected, expected]).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_batch_of_the_networks_size_stays_as_it_is(as_tensor: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_images, "BATCH_SIZE", 4)
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    for given in (images, images.transpose(0, 2, 3, 1)):
        batches = list(pixel_batches(torch.from_numpy(given.copy()) if as_tensor else given))
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert np.array_equal(np.concatenate(batches), images)


@pytest.mark.parametrize("side", [16, 64])
def test_images_are_scaled_to_the_size_of_the_network(side: int, tmp_path: Path) -> None:
    path = file_of(Image.fromarray(SCENE), tmp_path / "image.png")
    expected = image_files.read_image(path, side=side).transpose(2, 0, 1)
    assert expected.shape == (3, side, side)
    for given in (path, path.read_bytes(), Image.fromarray(SCENE), SCENE, expected):
        (batch,) = given_images.pixel_batches(given, side=side)
        assert np.array_equal(batch[0], expected)
    (batch,) = given_images.pixel_batches(np.stack([expected] * 2), side=side)
    assert np.array_equal(batch[1], expected)


def test_images_of_many_kinds_keep_their_order_and_names(tmp_path: Path) -> None:
    path = file_of(Image.new("RGB", (32, 32), "red"), tmp_path / "red.png")
    content = io.BytesIO()
    Image.new("RGB", (50, 40), "blue").save(content, "PNG")
    given = [path, Image.new("L", (20, 20), 9), content.getvalue(), SCENE]
    assert [name for name, _ in named_images(given)] == [str(path), "images[1]", "images[2]", "images[3]"]
    for images in (given, tuple(given), iter(given), (image for image in given)):
        (batch,) = pixel_batches(images)
        assert batch[:3, :, 0, 0].tolist() == [[255, 0, 0], [9, 9, 9], [0, 0, 255]]
    assert [name for name, _ in named_images(np.array(["a.png", "b.png"]))] == ["a.png", "b.png"]
    assert list(pixel_batches([])) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"images is a value of type NoneType, expected paths, contents of image files"),
        (5, r"images is a value of type int, expected paths"),
        ({"a.png": 1}, r"images is a value of type dict, expected paths"),
        ([SCENE, 5], r"images\[1\] is a value of type int, expected paths"),
        ([None], r"images\[0\] is a value of type NoneType"),
        (SCENE / 255, r"images\[0\] is float64 \(40, 60, 3\), expected pixels in 0..255, uint8 \(H, W, 3\) or \(3, H"),
        (
            torch.zeros(2, 3, 32, 32),
            r"images is float32 \(2, 3, 32, 32\), expected .*uint8 \(N, H, W, 3\) or \(N, 3, H",
        ),
        (SCENE[..., 0], r"images is uint8 \(40, 60\), expected"),
        (SCENE[None, None], r"images is uint8 \(1, 1, 40, 60, 3\), expected"),
        ([SCENE[None]], r"images\[0\] is uint8 \(1, 40, 60, 3\), expected"),
        (SCENE[:0], r"images\[0\] is uint8 \(0, 60, 3\), expected"),
        (np.zeros((2, 4, 32, 32), np.uint8), r"images is uint8 \(2, 4, 32, 32\), expected"),
        (Image.new("F", (4, 4)), r"images\[0\] has the mode F, whose range is not known; convert it"),
        (b"no image", r"images\[0\] is damaged or not an image \(8 bytes\)"),
        ("missing.png", r"missing.png cannot be read \(No such file or directory\)"),
    ],
)
def test_what_is_no_image_is_named_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        list(pixel_batches(given))
    assert "\n" not in str(caught.value)


def test_threads_read_ahead_up_to_a_limit_also_while_the_caller_is_busy() -> None:
    started: list[int] = []
    taken: list[int] = []

    def read(item: int) -> int:
        started.append(item)
        return item * item

    def items() -> Any:
        for item in range(100):
            taken.append(item)
            yield item

    stream = read_ahead(read, items(), ahead=8, threads=2)
    assert next(stream) == 0
    wait_until(lambda: len(started) == 8)
    assert len(taken) == 8
    assert list(stream) == [item * item for item in range(1, 100)]
    assert sorted(started) == list(range(100))


def test_a_failure_ends_the_reading_of_all_others() -> None:
    release = threading.Event()

    def read(item: int) -> int:
        if item == 1:
            raise UserError("number 1")
        release.wait(5)
        return item

    started = time.monotonic()
    stream = read_ahead(read, range(1000), ahead=500, threads=2)
    release.set()
    assert next(stream) == 0
    with pytest.raises(UserError, match="number 1"):
        next(stream)
    assert time.monotonic() - started < 4
    assert list(stream) == []


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")
