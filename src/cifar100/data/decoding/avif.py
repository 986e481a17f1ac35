"""The frames in an AVIF file, whose size is stated again in AV1's own headers, and decides on the decoder's memory."""

from __future__ import annotations

from collections.abc import Iterator

from cifar100.data.decoding.formats import CONVERT, ImageError

_SEQUENCE_HEADER = 1
"""The type of the OBU (open bitstream unit) that states the size."""


def coded_pixels(content: bytes) -> int:
    """Return the sum of the pixels of all coded frames of a still image: its tiles and its transparency.

    Raises:
        ImageError: the file is animated.
        ValueError: it is damaged.
    """
    boxes = dict(_boxes(content))
    if b"moov" in boxes:
        raise ImageError(f"is an animated AVIF file, which is not supported; {CONVERT}")
    below = dict(_boxes(boxes[b"meta"][4:]))
    left = 4 * len(content)
    total = 0
    for item in _items(content, below[b"iloc"], below.get(b"idat", b"")):
        left -= len(item)
        if left < 0:
            raise ValueError("items overlap")
        total += max((width * height for width, height in _frame_sizes(item)), default=0)
    return total


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and data of each ISO box."""
    position, names = 0, set()
    while position + 8 <= len(content):
        size, name = int.from_bytes(content[position : position + 4]), content[position + 4 : position + 8]
        header = 16 if size == 1 else 8
        if size == 1:
            size = int.from_bytes(content[position + 8 : position + 16])
        end = position + size if size else len(content)
        if end < position + header or (name in names and name in (b"meta", b"iloc", b"idat")):
            raise ValueError("a box of an impossible size, or twice")
        names.add(name)
        yield name, content[position + header : end]
        position = end


def _items(content: bytes, iloc: bytes, idat: bytes) -> Iterator[bytes]:
    """Yield the data of each item."""
    reader = _Bits(iloc)
    version = reader.take(8)
    reader.take(24)  # flags
    offset_bits, length_bits, base_bits, index_bits = (8 * reader.take(4) for _ in range(4))
    id_bits = 32 if version == 2 else 16
    for _ in range(reader.take(id_bits)):
        reader.take(id_bits)
        source = (content, idat)[reader.take(16) & 1 if version else 0]
        reader.take(16)  # data reference
        base = reader.take(base_bits)
        parts = []
        for _ in range(reader.take(16)):
            reader.take(index_bits if version else 0)
            start = base + reader.take(offset_bits)
            length = reader.take(length_bits)
            parts.append(source[start : start + length if length else None])
        yield b"".join(parts)


def _frame_sizes(item: bytes) -> Iterator[tuple[int, int]]:
    """Yield the size in each sequence header among the OBUs of an item; nothing for other kinds of items."""
    position = 0
    while position < len(item):
        header = item[position]
        position += 2 if header & 4 else 1  # with an extension
        size = len(item) - position
        if header & 2:
            size, position = _leb128(item, position)
        if header & 0x80 or size < 0:
            return
        if header >> 3 == _SEQUENCE_HEADER:
            yield _frame_size(_Bits(item[position : position + min(size, 1000)]))
        position += size


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and the position behind it."""
    number = 0
    for index, byte in enumerate(data[position : position + 8]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, position + index + 1
    return -1, position


def _frame_size(bits: _Bits) -> tuple[int, int]:
    """Return maximum width and height from a sequence header (AV1 specification, 5.5)."""
    bits.take(4)  # profile, still picture
    if bits.take(1):  # reduced header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.skip_exponential()
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if display_delay and bits.take(1):
            bits.take(4)


class _Bits:
    """Reads numbers of any number of bits, the most significant first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, number: int) -> int:
        """Return the next bits as a number."""
        start, self._position = self._position, self._position + number
        if self._position > 8 * len(self._data):
            raise ValueError("truncated")
        end = -(-self._position // 8)
        value = int.from_bytes(self._data[start // 8 : end])
        return value >> (8 * end - self._position) & ((1 << number) - 1)

    def skip_exponential(self) -> None:
        """Skip a number whose length is its count of leading zeros."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(zeros if zeros < 32 else 0)
