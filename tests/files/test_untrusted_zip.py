from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest
import torch

from cifar100.files.untrusted_zip import check_plain_layout, open_zip, read_member

CONTENT = {"a/train": b"x" * 1000, "a/test": bytes(range(256))}


def archive_of(content: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    with open_zip(io.BytesIO(content), max_members=5, max_bytes=10_000) as archive:
        return {member.filename: read_member(archive, member) for member in archive.infolist()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read(method: int) -> None:
    assert read(archive_of(CONTENT, method)) == CONTENT


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (archive_of(CONTENT, zipfile.ZIP_BZIP2), "method 12, expected deflate"),
        (archive_of(CONTENT, zipfile.ZIP_LZMA), "method 14, expected deflate"),
        (archive_of({f"{number}": b"" for number in range(6)}), "6 members, expected at most 5"),
        (archive_of({"a": bytes(10_001)}), "unpacks to 10,001 bytes, expected at most 10,000"),
        (archive_of({f"{number:01000}": b"" for number in range(200)}), "its directory has .* bytes"),
    ],
)
def test_what_is_too_much_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(zipfile.BadZipFile, match=reason):
        read(content)


@pytest.mark.parametrize("size", [10, 999, 1001, 9000])
def test_a_member_of_another_size_than_declared_is_refused(size: int) -> None:
    content = bytearray(archive_of({"a": bytes(1000)}))
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<L", size)
    with pytest.raises((zipfile.BadZipFile, EOFError)):
        read(bytes(content))


def test_a_stored_member_has_one_size() -> None:
    content = bytearray(archive_of({"a": bytes(1000)}, zipfile.ZIP_STORED))
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<L", 2000)
    with pytest.raises(zipfile.BadZipFile, match="declares two sizes"):
        read(bytes(content))


def torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, buffer)
    return buffer.getvalue()


def check(content: bytes) -> None:
    file = io.BytesIO(content)
    with open_zip(file, max_members=50, max_bytes=10_000) as archive:
        check_plain_layout(file, archive)


def test_a_file_of_torch_has_a_plain_layout() -> None:
    check(torch_file())
    check(archive_of(CONTENT, zipfile.ZIP_STORED))


def with_two_ends(content: bytes) -> bytes:
    at = content.rfind(b"PK\x06\x07")
    return content[: at + 8] + struct.pack("<Q", 0) + content[at + 16 :]


ALTERED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "bytes before": (lambda content: b"before" + content, "its directory"),
    "bytes behind": (lambda content: content + b"behind", "."),
    "a comment": (lambda content: content[:-2] + b"\x03\x00abc", "not at its end"),
    "two ends": (with_two_ends, "two ends"),
    "names but for case": (lambda _: archive_of({"a/B": b"", "a/b": b""}, zipfile.ZIP_STORED), "one name"),
    "a foreign name": (lambda _: archive_of({"a/\u00e9": b""}, zipfile.ZIP_STORED), "not plain text"),
    "compressed": (lambda _: archive_of(CONTENT), "a member is compressed"),
}


@pytest.mark.parametrize(("change", "reason"), ALTERED.values(), ids=ALTERED.keys())
def test_an_archive_that_can_be_read_in_two_ways_is_refused(change: Callable[[bytes], bytes], reason: str) -> None:
    with pytest.raises(zipfile.BadZipFile, match=reason):
        check(change(torch_file()))
