"""A hundred thousand damaged and hostile images: each is read or refused in one line, soon and in bounded memory.

The mutants are the same in every run. The normal tests take a few hundred.
"""

from __future__ import annotations

import io
import random
import signal
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from image_bytes import PNG_START, chunk, exif, jpeg_of_size, png_bomb, png_file, saved, scene, tiff_of
from PIL import Image, features

from cifar100.data.folder.image_files import read_image
from cifar100.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")

DEADLINE_SECONDS = 20
MAX_MEGABYTES = 1024
NUMBERS = [0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


def seeds() -> dict[str, bytes]:
    """A small file of each kind; every one of them is read."""
    wide = np.arange(30 * 24 * 3, dtype=np.uint16).reshape(30, 24, 3) * 17
    note = Image.Exif()
    note[0x0112] = 6
    note[0x010F] = "a camera"
    colour, see_through = scene(40, 30), scene(40, 30, "RGBA")
    frames = [colour, colour.transpose(Image.Transpose.ROTATE_180)]
    plain = saved(scene(32, 32), "PNG")
    made = {
        "png": saved(colour, "PNG"),
        "png-plain": plain,
        "png-alpha": saved(see_through, "PNG", exif=note),
        "png-palette": saved(colour.quantize(32), "PNG", transparency=3),
        "png-16": png_file(wide, colour=2, extra=chunk(b"sBIT", b"\x0c\x0c\x0c"), behind=b"appended"),
        "png-grey-16": png_file(wide[..., 0], colour=0, extra=chunk(b"tRNS", b"\0\x11")),
        "png-text": plain[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(999))) + plain[33:],
        "apng": saved(colour, "PNG", save_all=True, append_images=frames[1:]),
        "jpeg": saved(colour, "JPEG", exif=note, icc_profile=bytes(300), comment=b"hello"),
        "jpeg-progressive": saved(colour, "JPEG", progressive=True, subsampling=0),
        "jpeg-grey": saved(scene(40, 30, "L"), "JPEG"),
        "jpeg-cmyk": saved(scene(40, 30, "CMYK"), "JPEG"),
        "mpo": saved(colour, "MPO", save_all=True, append_images=frames[1:]),
        "gif": saved(colour, "GIF", save_all=True, append_images=frames[1:], comment=b"hello"),
        "gif-alpha": saved(see_through, "GIF", interlace=1),
        "bmp": saved(colour, "BMP"),
        "bmp-palette": saved(colour.quantize(16), "BMP"),
        "webp": saved(colour, "WEBP", exif=note),
        "webp-lossless": saved(see_through, "WEBP", lossless=True),
        "webp-animated": saved(colour, "WEBP", save_all=True, append_images=frames[1:]),
        "tiff": saved(colour, "TIFF", exif=note),
        "tiff-lzw": saved(see_through, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": saved(colour, "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 7}),
        "tiff-jpeg": saved(colour, "TIFF", compression="jpeg"),
        "tiff-bilevel": saved(scene(40, 30, "1"), "TIFF", compression="group4"),
        "tiff-packbits": saved(colour, "TIFF", compression="packbits"),
        "tiff-pages": saved(colour, "TIFF", save_all=True, append_images=frames[1:]),
        "tiff-16": tiff_of(wide),
        "tiff-grey-16": tiff_of(wide[..., 0], order=">", t281=4095),
        "tiff-signed": tiff_of(wide[..., 0].astype(np.int32) // 2),
        "ppm": saved(colour, "PPM"),
        "ppm-16": b"P6 24 30 4095\n" + wide.astype(">u2").tobytes(),
        "pgm-text": b"P2 # grey\n4 3 15\n" + b" ".join(b"%d" % number for number in range(12)) + b"\n",
        "pbm": saved(scene(40, 30, "1"), "PPM"),
    }
    if features.check("avif"):
        made["avif"] = saved(colour, "AVIF", speed=10, exif=note)
        made["avif-alpha"] = saved(see_through, "AVIF", speed=10)
    return made


def hostile() -> Iterator[bytes]:
    """Files whose structure is whole and whose content is not; every one is tried once."""
    yield from (b"", b"\0" * 64, b"\xff" * 64, b"%!PS\n", b"II*\0" + b"\xff" * 60, b"MM\0*" + bytes(60))
    for start in (
        PNG_START,
        b"\xff\xd8\xff",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"II+\0",
        b"P6 ",
        b"RIFF\0\0\0\0WEBP",
    ):
        yield from (start + bytes(count) for count in range(0, 64, 3))
        yield from (start + b"\xff" * count for count in range(0, 64, 3))
    yield from (png_bomb(width, height, rows=3) for width in (1, 40, 70_000) for height in (1, 40, 70_000, 2**31 - 1))
    yield from (jpeg_of_size(width, height) for width in (0, 1, 9_000, 65_535) for height in (0, 1, 9_000, 65_535))
    yield saved(scene(), "JPEG", exif=exif(8_000)[:65_000])
    yield saved(scene(), "PNG", exif=exif(500_000))


def mutate(content: bytes, others: list[bytes], choose: random.Random) -> bytes:
    """Return a file with one to three changes; half of the PNG files get right checksums again."""
    for _ in range(choose.choice((1, 1, 2, 3))):
        content = choose.choice(CHANGES)(bytearray(content), others, choose)
    return with_checksums(content) if content.startswith(PNG_START) and choose.random() < 0.5 else content


Change = Callable[[bytearray, list[bytes], random.Random], bytes]


def flip(content: bytearray, others: list[bytes], choose: random.Random) -> bytes:
    for _ in range(choose.choice((1, 1, 2, 8))):
        if content:
            content[early(content, choose)] ^= 1 << choose.randrange(8)
    return bytes(content)


def overwrite(content: bytearray, others: list[bytes], choose: random.Random) -> bytes:
    at = early(content, choose)
    content[at : at + choose.randrange(1, 9)] = choose.randbytes(choose.randrange(1, 9))
    return bytes(content)


def number(content: bytearray, others: list[bytes], choose: random.Random) -> bytes:
    """A length, size or offset of two or four bytes, in either order."""
    at, size = early(content, choose), choose.choice((2, 4))
    value = choose.choice([*NUMBERS, len(content), len(content) - at]) % 256**size
    content[at : at + size] = value.to_bytes(size, choose.choice(("big", "little")))
    return bytes(content)


def truncate(content: bytearray, others: list[bytes], choose: random.Random) -> bytes:
    return bytes(content[: choose.randrange(len(content) + 1)])


def cut(content: bytearray, others: list[bytes], choose: random.Random) -> bytes:
    at = early(content, choose)
    del content[at : at + choose.choice((1, 2, 4, 12, 100))]
    return bytes(content)


def repeat(content: bytearray, others: list[bytes], choose: random.Random) -> bytes:
    at = early(content, choose)
    part = content[at : at + choose.choice((1, 4, 12, 64, 400))]
    return bytes(content[:at] + part * choose.choice((2, 2, 3, 50)) + content[at:])


def splice(content: bytearray, others: list[bytes], choose: random.Random) -> bytes:
    """The beginning of one file and the end of another, perhaps of another format."""
    other = choose.choice(others)
    return bytes(content[: early(content, choose)]) + other[choose.randrange(len(other)) :]


def shuffle(content: bytearray, others: list[bytes], choose: random.Random) -> bytes:
    """Remove, repeat, swap or exchange whole chunks of PNG and RIFF, and segments of JPEG."""
    parts, foreign = split(bytes(content)), split(choose.choice(others))
    if len(parts) < 2:
        return flip(content, others, choose)
    at, other = choose.randrange(len(parts)), choose.randrange(len(parts))
    action = choose.randrange(4)
    if action == 0:
        del parts[at]
    elif action == 1:
        parts.insert(at, parts[other])
    elif action == 2:
        parts[at], parts[other] = parts[other], parts[at]
    else:
        parts.insert(at, choose.choice(foreign))
    return b"".join(parts)


CHANGES: list[Change] = [flip, flip, overwrite, number, number, truncate, cut, repeat, splice, shuffle]


def early(content: bytearray, choose: random.Random) -> int:
    """A position, more often near the beginning, where the headers are."""
    length = max(1, len(content))
    return choose.randrange(min(length, choose.choice((64, 256, length))))


def split(content: bytes) -> list[bytes]:
    parts, position = [], 0
    if content.startswith(PNG_START):
        position, head = 8, lambda at: 12 + int.from_bytes(content[at : at + 4], "big")
    elif content.startswith(b"RIFF"):
        position, head = 12, lambda at: 8 + (int.from_bytes(content[at + 4 : at + 8], "little") + 1) // 2 * 2
    elif content.startswith(b"\xff\xd8"):
        position, head = 2, lambda at: 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    else:
        position, head = 0, lambda at: 97
    parts.append(content[:position])
    while position < len(content) and len(parts) < 200:
        end = position + head(position)
        parts.append(content[position:end])
        position = end
    return [part for part in parts if part] or [b"\0"]


def with_checksums(content: bytes) -> bytes:
    parts = split(content)
    return b"".join(
        part[:-4] + struct.pack(">I", zlib.crc32(part[4:-4])) if index and len(part) >= 12 else part
        for index, part in enumerate(parts)
    )


def mutants(count: int, *, seed: int) -> Iterator[tuple[str, bytes]]:
    choose = random.Random(seed)
    files = seeds()
    names, contents = list(files), list(files.values())
    yield from (("hostile", content) for content in hostile())
    for index in range(count):
        name = names[index % len(names)]
        yield name, mutate(files[name], contents, choose)


def peak_megabytes() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def fuzz(count: int, path: Path, *, seed: int) -> Counter[str]:
    """Read all mutants. A deadline ends the test, so that the file that hangs is left behind."""

    def expired(*_: object) -> None:
        pytest.fail(f"{path} took more than {DEADLINE_SECONDS} s")

    results: Counter[str] = Counter()
    slowest = (0.0, "")
    previous = signal.signal(signal.SIGALRM, expired)
    try:
        for name, content in mutants(count, seed=seed):
            path.write_bytes(content)
            signal.alarm(DEADLINE_SECONDS)
            started = time.monotonic()
            try:
                image = read_image(path)
                assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
                results["read"] += 1
            except UserError as error:
                said = str(error)
                assert "\n" not in said
                assert said.startswith(str(path))
                assert len(said) < len(str(path)) + 300
                results["damaged" if "is damaged or not an image" in said else "refused with a reason"] += 1
            slowest = max(slowest, (time.monotonic() - started, name))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    print(f"{results}, slowest {slowest[0]:.1f} s ({slowest[1]}), peak {peak_megabytes():.0f} MB")
    return results


def test_every_seed_is_read(tmp_path: Path) -> None:
    for name, content in seeds().items():
        (tmp_path / name).write_bytes(content)
        assert read_image(tmp_path / name).std() > 10, name


def test_the_mutants_differ_and_are_the_same_in_every_run() -> None:
    first, again = (list(mutants(400, seed=1)) for _ in range(2))
    assert first == again
    assert len({content for _, content in first}) > 0.95 * len(first)


@pytest.mark.skipif(sys.platform == "win32", reason="has no alarm")
def test_some_mutants(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results = fuzz(1500, tmp_path / "image", seed=0)
    assert min(results["read"], results["damaged"], results["refused with a reason"]) > 50


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform == "win32", reason="has no alarm")
def test_a_hundred_thousand_mutants(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = peak_megabytes()
    results = fuzz(100_000, tmp_path / "image", seed=2026)
    with capfd.disabled():
        print(f"\n{dict(results)}, {peak_megabytes() - before:.0f} MB above the start")
    assert results.total() > 100_000
    assert min(results.values()) > 1000
    assert peak_megabytes() - before < MAX_MEGABYTES


def test_an_in_memory_seed_is_what_pillow_reads() -> None:
    """The seeds are whole by Pillow's own judgement, so that the test above is about our reader."""
    for name, content in seeds().items():
        with Image.open(io.BytesIO(content)) as image:
            assert image.size[0] > 3, name
