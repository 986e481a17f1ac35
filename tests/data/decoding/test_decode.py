"""Large images: the same pixels as Pillow's own path, and bounded memory, measured in a process of its own."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_bytes import PNG_START, chunk, exif, jpeg_of_size, png_bomb, saved, scene, tiff_file
from PIL import Image, ImageOps, features

from cifar100.data.decoding.decode import decode_image
from cifar100.data.decoding.formats import ImageError
from cifar100.data.decoding.memory import TOTAL_BYTES, Memory

MAX_MEGABYTES = 1024
"""Above the memory of the process before it reads the file."""

MEASURE = """
import resource, sys, threading, time
from pathlib import Path
import cv2
from cifar100.data.folder.image_files import read_image
from cifar100.errors import UserError

def read():
    for path in sys.argv[2:]:
        try:
            read_image(Path(path))
        except UserError as error:
            said.append(str(error))

def peak():
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss counts the process that started this one as well
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    number = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return number / (2**20 if sys.platform == "darwin" else 2**10)

said = []
before, started = peak(), time.monotonic()
threads = [threading.Thread(target=read) for _ in range(int(sys.argv[1]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(peak() - before, time.monotonic() - started, said[:1])
"""


@pytest.mark.parametrize(("kind", "size"), [("PNG", (2600, 1700)), ("TIFF", (1600, 2700)), ("JPEG", (1600, 2700))])
def test_a_large_image_looks_as_if_scaled_in_one_step(kind: str, size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    expected = np.asarray(ImageOps.fit(image, (32, 32), method=Image.Resampling.BICUBIC)).astype(int)
    difference = np.abs(
        decode_image(saved(image, kind, **({"quality": 95} if kind == "JPEG" else {})), Memory(), side=32) - expected
    )
    assert difference.max() <= 10
    assert difference.mean() < 1


def test_other_modes_are_reduced_in_parts_as_well() -> None:
    for mode in ("P", "RGBA"):
        image = scene(2300, 1900, "RGBA" if mode == "RGBA" else "RGB").convert(mode)
        small = decode_image(saved(image, "TIFF"), Memory(), side=32)
        white = Image.new("RGBA", image.size, "white")
        shown = Image.alpha_composite(white, image).convert("RGB") if mode == "RGBA" else image.convert("RGB")
        expected = np.asarray(ImageOps.fit(shown, (32, 32), method=Image.Resampling.BICUBIC))
        assert np.abs(small.astype(int) - expected).max() <= 3, mode


def test_the_memory_that_is_needed_is_named() -> None:
    with pytest.raises(ImageError, match=r"has 4,000,000 pixels and takes 1\d\d MB to read, expected at most .* 50 MB"):
        decode_image(png_bomb(2000, 2000, rows=1), Memory(50 * 2**20), side=32)


def bomb(kind: str) -> bytes:
    """A file that asks for as much memory as its reader allows, or for more."""
    zeros = zlib.compress(bytes(10**6), 9)
    large = zlib.compress(bytes(10**8), 9)
    text = b"".join(chunk(b"zTXt", b"%d\0\0" % number + zeros) for number in range(2000))
    strips = 500_000
    still = saved(Image.new("RGB", (64, 64)), "JPEG")
    parts = [exif(10**6)[start : start + 60_000] for start in range(0, 8 * 10**6, 60_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 8 + len(part)) + b"Exif\0\0" + part for part in parts)
    tile = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 324: 8, 325: len(large)}
    rows = {256: 1, 257: strips, 258: 8, 259: 1, 262: 1, 273: [8] * strips, 278: 1, 279: [1] * strips}
    made: dict[str, Callable[[], bytes]] = {
        "PNG of 200 megapixels": lambda: png_bomb(14_200, 14_200),
        "PNG of 200 megapixels, cut": lambda: png_bomb(14_200, 14_200, rows=14_000),
        "PNG with transparency": lambda: png_bomb(14_200, 14_200, colour=6),
        "PNG of 16 bits": lambda: png_bomb(5_800, 5_800, bits=16, colour=6),
        "thin PNG": lambda: png_bomb(1, 24_000_000, colour=0),
        "PNG with text": lambda: PNG_START + png_bomb(9, 9)[8:33] + text + png_bomb(9, 9)[33:],
        "PNG with Exif": lambda: png_bomb(9, 9)[:33] + chunk(b"eXIf", exif(2 * 10**6)) + png_bomb(9, 9)[33:],
        "JPEG with Exif": lambda: still[:2] + segments + still[2:],
        "JPEG of 250 megapixels": lambda: jpeg_of_size(65_000, 3_800),
        "progressive JPEG": lambda: jpeg_of_size(12_000, 10_000, progressive=True, subsampling=0),
        "TIFF tile": lambda: tiff_file(tile | {322: 30_000, 323: 29_000}, large),
        "TIFF strips": lambda: tiff_file(rows, b"a"),
        "rotated TIFF": lambda: saved(
            Image.new("RGB", (8000, 8000)), "TIFF", compression="tiff_adobe_deflate", tiffinfo={274: 6, 278: 8000}
        ),
        "WebP": lambda: saved(Image.new("RGB", (7200, 7200)), "WEBP", lossless=True, quality=0, method=0),
        "WebP with Exif": lambda: saved(scene(), "WEBP", exif=exif(15 * 10**6, tag=0x0112, kind=3, size=2)),
        "AVIF": lambda: saved(Image.new("RGB", (6500, 6500)), "AVIF", speed=10, subsampling="4:4:4"),
        "AVIF that lies": lambda: saved(Image.new("RGB", (12_000, 12_000)), "AVIF", speed=10).replace(
            struct.pack(">II", 12_000, 12_000), struct.pack(">II", 16, 16)
        ),
        "GIF": lambda: saved(Image.new("P", (9500, 9500)), "GIF"),
        "PPM comments": lambda: b"P6\n" + b"#\n" * 10**7 + b"5 5 255\n" + bytes(75),
    }
    return made[kind]()


QUICK = ["PNG with text", "PNG with Exif", "JPEG with Exif", "JPEG of 250 megapixels", "PPM comments"]
SLOW = [
    "PNG of 200 megapixels",
    "PNG of 200 megapixels, cut",
    "PNG with transparency",
    "PNG of 16 bits",
    "thin PNG",
    "progressive JPEG",
    "TIFF tile",
    "TIFF strips",
    "rotated TIFF",
    "WebP",
    "WebP with Exif",
    "AVIF",
    "AVIF that lies",
    "GIF",
]


@pytest.mark.skipif(sys.platform == "win32", reason="has no getrusage")
@pytest.mark.parametrize(
    ("kinds", "threads"),
    [(QUICK, 1), *(pytest.param([kind], threads, marks=pytest.mark.slow) for kind in SLOW for threads in (1, 4))],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_the_worst_files_take_less_than_a_gibibyte(kinds: list[str], threads: int, tmp_path: Path) -> None:
    if "AVIF" in kinds[0] and not features.check("avif"):
        pytest.skip("this build of Pillow cannot write AVIF")
    paths = [tmp_path / kind for kind in kinds]
    for path in paths:
        path.write_bytes(bomb(path.name))
    command = [sys.executable, "-c", MEASURE, str(threads), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    megabytes, seconds, said = done.stdout.split(maxsplit=2)
    print(f"{kinds}, {threads} at once: {float(megabytes):.0f} MB, {float(seconds):.1f} s {said}")
    assert 0 < float(megabytes) < MAX_MEGABYTES
    assert "Traceback" not in done.stderr


def test_the_bound_leaves_room_for_small_files() -> None:
    """8 threads may each hold a file of 16 MB that waits for its turn."""
    assert TOTAL_BYTES + 8 * 16 * 2**20 <= MAX_MEGABYTES * 2**20
