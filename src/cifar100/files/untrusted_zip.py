"""Open untrusted zip files: the number, compression and sizes of the members are checked before one is read."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import BinaryIO

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The other methods of zip cannot be decompressed with a limit."""

_DIRECTORY_BYTES = 256
"""Bytes in the directory of an archive for each member: 46, its name and its extra fields."""

_END, _END64_LOCATOR, _END64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"


def open_zip(file: BinaryIO, *, max_members: int, max_bytes: int) -> zipfile.ZipFile:
    """Open an archive for reading and check its directory. Read its members with `read_member`.

    Args:
        file: a seekable file; the caller closes it.
        max_members: maximum number of members.
        max_bytes: maximum size of all members together, uncompressed.

    Raises:
        BadZipFile: it holds too much, or a member that is neither stored nor deflated. `zipfile` raises other kinds for
            damaged archives.
    """
    source = _LimitedReads(file, limit=2**17 + _DIRECTORY_BYTES * max_members)
    archive = zipfile.ZipFile(source)
    source.limit = None
    members = archive.infolist()
    if len(members) > max_members:
        raise zipfile.BadZipFile(f"it holds {len(members):,} members, expected at most {max_members:,}")
    for member in members:
        if member.compress_type not in _METHODS:
            raise zipfile.BadZipFile(f"a member is compressed by method {member.compress_type}, expected deflate")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise zipfile.BadZipFile("a stored member declares two sizes")
    num_bytes = sum(member.file_size for member in members)
    if num_bytes > max_bytes:
        raise zipfile.BadZipFile(f"it unpacks to {num_bytes:,} bytes, expected at most {max_bytes:,}")
    return archive


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return the content of a member. A member that is larger than it declares is never decompressed beyond that.

    Raises:
        BadZipFile: the member has another size or checksum than it declares.
    """
    with archive.open(member) as file:
        content = file.read(member.file_size + 1)  # `read()` would decompress everything at once
    if len(content) != member.file_size:
        raise zipfile.BadZipFile(f"a member has {len(content):,} bytes but declares {member.file_size:,}")
    return content


def check_plain_layout(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Check that every zip reader sees the members that `archive` lists: torch reads its files with its own reader.

    Readers differ in how they search the end of the directory, in names that are equal except for case, and in bytes
    before the archive.

    Raises:
        BadZipFile: the archive can be read in two ways, or a member is compressed.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 98))
    tail = file.read().rjust(98, b"\0")
    end, locator, end64 = tail[76:], tail[56:76], tail[:56]
    num_bytes, offset, comment = struct.unpack("<LLH", end[12:])
    length = 22
    if locator.startswith(_END64_LOCATOR):
        length = 98
        num_bytes, offset = struct.unpack("<QQ", end64[40:])
        if not end64.startswith(_END64) or struct.unpack("<Q", locator[8:16])[0] != size - length:
            raise zipfile.BadZipFile("its directory has two ends")
    if not end.startswith(_END) or comment or offset + num_bytes + length != size or archive.start_dir != offset:
        raise zipfile.BadZipFile("its directory is not at its end")
    names = [member.orig_filename for member in archive.infolist()]
    if not all(name.isascii() and name.isprintable() for name in names):
        raise zipfile.BadZipFile("a member has a name that is not plain text")
    if len({name.lower() for name in names}) < len(names):
        raise zipfile.BadZipFile("two members have one name")
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise zipfile.BadZipFile("a member is compressed")


class _LimitedReads(io.BufferedIOBase):
    """A file that refuses a single read of more than `limit` bytes: zipfile reads a directory of any size at once."""

    def __init__(self, file: BinaryIO, *, limit: int) -> None:
        self._file = file
        self.limit: int | None = limit

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None and size is not None and size > self.limit:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes, expected at most {self.limit:,}")
        return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True
