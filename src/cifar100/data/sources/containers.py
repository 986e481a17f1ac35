"""Read the files of the official release from a folder or an untrusted tar or zip archive into memory.

Nothing is unpacked to disk, so no member of an archive can write anywhere. Every size is checked before reading.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, NamedTuple

from cifar100.errors import UserError
from cifar100.files.regular import open_regular, read_bytes
from cifar100.files.untrusted_zip import open_zip, read_member

PYTHON_FILES = ("train", "test", "meta")
BINARY_FILES = ("train.bin", "test.bin", "fine_label_names.txt", "coarse_label_names.txt")

FOLDERS = ("cifar-100-python", "cifar-100-binary")
ARCHIVES = ("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz")

EXPECTED = (
    "expected the folder or archive of CIFAR-100's python version (train, test, meta) or binary version (train.bin, "
    "test.bin, fine_label_names.txt, coarse_label_names.txt); pass its path, or run: cifar100 prepare --source download"
)

MAX_FILE_BYTES = 256 * 2**20
"""The largest official file, `train`, has 155 MB."""

MAX_ARCHIVE_BYTES = 512 * 2**20
"""The whole official release has 186 MB."""

MAX_MEMBERS = 1000
"""The official archives have five members."""


def read_files(path: Path) -> dict[str, bytes]:
    """Return name -> content of all files of the python or the binary version.

    Args:
        path: a folder with the files, a folder that contains `cifar-100-python`, `cifar-100-binary` or one of their
            archives, or a `.tar.gz`, `.tar` or `.zip` archive.

    Raises:
        UserError: `path` holds no complete release, or one that is damaged, unsafe or too large.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.is_file():
            return _read_archive(path)
        found = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise UserError(f"{path} {found}; {EXPECTED}")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {EXPECTED}") from error


def find_release(path: Path) -> Path | None:
    """Return the folder or archive of a release in a folder, even if files are missing; None if there is none.

    Finds the copies of torchvision (`cifar-100-python` below its root) and of Keras (below `~/.keras/datasets`).
    """
    for folder in _places(path):
        for layout in (PYTHON_FILES, BINARY_FILES):
            if any((folder / name).is_file() for name in layout):
                return folder
    archives = (path / name for name in ARCHIVES)
    return next((archive for archive in archives if archive.is_file()), None)


def _places(path: Path) -> list[Path]:
    """Return where the files of a release may be in a folder: the last is that of Keras 3."""
    return [path, *(path / name for name in FOLDERS), path / "cifar-100-python-target" / "cifar-100-python"]


def _read_folder(path: Path) -> dict[str, bytes]:
    nearly: list[str] = []
    for folder in _places(path):
        for layout in (PYTHON_FILES, BINARY_FILES):
            missing = [name for name in layout if not (folder / name).is_file()]
            if not missing:
                return {name: _read_file(folder / name) for name in layout}
            if len(missing) < len(layout):
                nearly.append(f"{folder} lacks {', '.join(missing)}")
    for name in ARCHIVES:
        if (path / name).is_file():
            return _read_archive(path / name)
    if nearly:
        raise UserError(f"{nearly[0]}; {EXPECTED}")
    raise UserError(f"{path} holds {_listing(entry.name for entry in path.iterdir())}; {EXPECTED}")


def _read_file(path: Path) -> bytes:
    try:
        return read_bytes(path, limit=MAX_FILE_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise UserError(f"{path} is larger than any file of CIFAR-100; {EXPECTED}") from error
        raise


def _read_archive(path: Path) -> dict[str, bytes]:
    with open_regular(path) as file:
        head = file.read(512)
        file.seek(0)
        if os.fstat(file.fileno()).st_size > MAX_ARCHIVE_BYTES:
            raise UserError(f"{path} is larger than any archive of CIFAR-100; {EXPECTED}")
        files = _read_members(file, head, path)
    for layout in (PYTHON_FILES, BINARY_FILES):
        if files.keys() >= set(layout):
            return {name: files[name] for name in layout}
    raise UserError(f"{path} is an archive that holds {_listing(files)} of these files; {EXPECTED}")


def _read_members(file: BinaryIO, head: bytes, path: Path) -> dict[str, bytes]:
    try:
        return _read_zip(file, path) if head.startswith(b"PK\x03\x04") else _read_tar(file, head, path)
    except UserError:
        raise
    except Exception as error:  # a crafted or damaged archive can raise anything
        reason = f"{error}"[:200].encode("unicode_escape").decode() or type(error).__name__
        raise UserError(f"{path} is {_kind(head)} and cannot be read as an archive ({reason}); {EXPECTED}") from error


class _Member(NamedTuple):
    """One entry of an archive."""

    name: str
    num_bytes: int
    kind: str
    """`file`, `folder`, or the kind that is refused."""
    read: Callable[[], bytes]


def _read_zip(file: BinaryIO, path: Path) -> dict[str, bytes]:
    with open_zip(file, max_members=MAX_MEMBERS, max_bytes=MAX_ARCHIVE_BYTES) as archive:
        return _collect(path, _zip_members(archive))


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        kind = "folder" if info.is_dir() else "link" if stat.S_ISLNK(mode) else "file"
        yield _Member(info.filename, info.file_size, kind, partial(read_member, archive, info))


def _read_tar(file: BinaryIO, head: bytes, path: Path) -> dict[str, bytes]:
    content = gzip.GzipFile(fileobj=file) if head.startswith(b"\x1f\x8b") else file
    stream = _BoundedStream(content, path)
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        files = _collect(path, _tar_members(archive))
    while stream.read(2**20):  # up to gzip's checksum at the end
        pass
    return files


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if info.isreg() and not info.issparse():
            kind = "file"
        else:
            kind = "folder" if info.isdir() else "link" if info.issym() or info.islnk() else "device"
        yield _Member(info.name, info.size, kind, partial(_read_tar_member, archive, info))


def _read_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    assert file is not None, "extractfile opens every regular file"
    return file.read()


def _collect(path: Path, members: Iterable[_Member]) -> dict[str, bytes]:
    """Read the files of a release from any folder of the archive; refuse an archive with any unsafe member."""
    files: dict[str, bytes] = {}
    num_bytes = 0
    for count, member in enumerate(members, start=1):
        location = PureWindowsPath(member.name)  # splits at both kinds of separators, and at drives
        shown = ascii(member.name[:80])
        num_bytes += member.num_bytes
        if location.anchor or ".." in location.parts:
            raise UserError(f"{path} holds {shown}, a path outside the archive; do not trust it; {EXPECTED}")
        if member.kind not in ("file", "folder"):
            raise UserError(f"{path} holds {shown}, a {member.kind} and not a file; do not trust it; {EXPECTED}")
        if member.num_bytes > MAX_FILE_BYTES or num_bytes > MAX_ARCHIVE_BYTES or count > MAX_MEMBERS:
            raise UserError(f"{path} holds more than CIFAR-100 could (at {shown}); do not trust it; {EXPECTED}")
        if member.kind == "file" and location.name in PYTHON_FILES + BINARY_FILES:
            if location.name in files:
                raise UserError(f"{path} holds the file {location.name} twice; {EXPECTED}")
            files[location.name] = member.read()
    return files


class _BoundedStream(io.BufferedIOBase):
    """A file for tarfile that fails at `MAX_ARCHIVE_BYTES` and never seeks backwards.

    tarfile reads an extended header of any length into memory, and loops forever over negative sizes.
    """

    def __init__(self, file: BinaryIO | gzip.GzipFile, path: Path) -> None:
        self._file = file
        self._path = path

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # tarfile always passes a size
            raise tarfile.ReadError("a member of negative size")
        self._check(self._file.tell() + size)
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        assert whence == io.SEEK_SET
        self._check(offset)
        if offset < self._file.tell():
            raise tarfile.ReadError("a member begins before the end of the previous one")
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, end: int) -> None:
        if end > MAX_ARCHIVE_BYTES + 2**20:
            raise UserError(f"{self._path} unpacks to more than CIFAR-100 could; do not trust it; {EXPECTED}")


def _listing(names: Iterable[str]) -> str:
    first = sorted(names)
    shown = ", ".join(name[:40].encode("unicode_escape").decode() for name in first[:4])
    return f"{shown} and {len(first) - 4} more" if len(first) > 4 else shown or "nothing"


def _kind(head: bytes) -> str:
    """Describe a file by its first bytes."""
    kinds = {b"\x1f\x8b": "a gzip file", b"PK": "a zip file", b"\x80": "a pickle, one file of the release"}
    for start, kind in kinds.items():
        if head.startswith(start):
            return kind
    if head.lstrip()[:1] == b"<":
        return "a web page"
    if not head:
        return "empty"
    return "a text file" if head.isascii() and b"\0" not in head else "a file of another kind"
