from __future__ import annotations

import numpy as np
from image_bytes import chunk, png_file

from cifar100.data.decoding import png

GREY = np.arange(64, dtype=np.uint16).reshape(8, 8)
BITS = chunk(b"sBIT", b"\x0c")
NOTE = chunk(b"tEXt", b"XML:com.adobe.xmp\0hello")
OTHER = chunk(b"zTXt", b"Comment\0\0abc") + chunk(b"iCCP", b"x\0\0abc") + chunk(b"acTL", bytes(8))


def names(content: bytes) -> list[bytes]:
    return [found.name for found in png.chunks(content)]


def test_chunks_end_with_the_image() -> None:
    content = png_file(GREY, colour=0)
    assert names(content) == names(content + b"appended") == [b"IHDR", b"IDAT", b"IEND"]
    for cut in range(len(content)):
        assert names(content[:cut]) == []
    for at in range(8, len(content)):
        assert names(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]) == []


def test_only_what_the_pixels_need_is_kept() -> None:
    content = png_file(GREY, colour=0, extra=BITS + OTHER + NOTE + chunk(b"tRNS", b"\0\1"), behind=b"more")
    essential = png.essential(content, png.chunks(content))
    assert names(essential) == [b"IHDR", b"tEXt", b"tRNS", b"IDAT", b"IEND"]
    assert essential.endswith(b"IEND\xaeB`\x82")


def test_the_significant_bits() -> None:
    def bits(extra: bytes) -> int | None:
        content = png_file(GREY, colour=0, extra=extra)
        return png.significant_bits(content, png.chunks(content))

    assert bits(b"") is None
    assert bits(BITS) == 12
    assert bits(chunk(b"sBIT", b"\x0a\x0c\x0b\x10")) == 12  # the last is transparency
    assert bits(chunk(b"sBIT", b"")) is None
