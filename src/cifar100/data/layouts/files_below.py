"""Find image files below a folder: through links, without hidden files and those of operating systems."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cifar100.data.decoding.formats import ImageError, format_of
from cifar100.errors import UserError
from cifar100.files.regular import open_regular
from cifar100.foreign_text import printable

IMAGE_SUFFIXES = frozenset(
    """
    .apng .avif .bmp .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp
    """.split()
)
"""Of files that are meant as images. Those of another format than `SUPPORTED` are refused by name, never left out."""

MAX_FILES = 4_000_000
"""Below one folder; more than its arrays can hold."""

_MAX_DEPTH = 32

_SYSTEM = {"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "system volume information", "lost+found"}
"""What operating systems put into folders, in lower case. Names that start with a dot are ignored as well."""


@dataclass(frozen=True)
class FilesBelow:
    """The visible files below a folder, in natural order, relative to it."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Return a sort key that compares numbers as numbers and ignores case: `img2` comes before `IMG10`."""
    parts = re.split(r"(\d+)", unicodedata.normalize("NFC", name).casefold())
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part], name


def visible(folder: Path, *, suffix: str = "") -> list[os.DirEntry[str]]:
    """Return the entries of a folder without those that are ignored, in natural order.

    suffix: only those whose names end with this, in lower case. Others are not sorted, which takes time.

    Raises:
        UserError: the folder cannot be read, or a name is not one line of UTF-8.
    """
    try:
        entries = [
            entry for entry in os.scandir(folder) if not is_ignored(entry.name) and entry.name.lower().endswith(suffix)
        ]
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); make it readable or leave it out.") from error
    for entry in entries:
        if any(character < " " or "\ud800" <= character <= "\udfff" for character in entry.name):
            raise UserError(f"{folder} holds a name with a control character ({printable(entry.name)}); rename it.")
    return sorted(entries, key=lambda entry: natural(entry.name))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one.

    Raises:
        UserError: it is a link that leads to itself, or through a folder that may not be entered.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        raise UserError(f"{entry.path} cannot be read ({error.strerror}); make it readable or leave it out.") from error


def find_files(folder: Path) -> FilesBelow:
    """Return the image files and all other files below a folder, at any depth. Follows links.

    A file without a suffix is an image if its content is.

    Raises:
        UserError: as `visible` and `is_folder`; or a link leads to a folder that holds it, or there are too many files.
    """
    found = FilesBelow()
    for file in _walk(folder, "", ()):
        (found.images if _is_image(folder, file) else found.others).append(file)
        if len(found.images) + len(found.others) > MAX_FILES:
            raise UserError(f"{folder} holds more than {MAX_FILES:,} files; pass a smaller folder.")
    return found


def holds_image(folder: Path, *, budget: int = 1000) -> bool:
    """Return whether an image file is among the first `budget` entries below a folder. Reads no file, fails never."""
    pending, seen = [os.fspath(folder)], 0
    while pending and seen < budget:
        folders = []
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > budget:
                    break
                if is_ignored(entry.name):
                    continue
                if entry.is_dir():
                    folders.append(entry.path)
                elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                    return True
        pending += folders
    return False


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    status = folder.stat()
    here = status.st_dev, status.st_ino
    if here in above or len(above) > _MAX_DEPTH:
        reason = "is a link to a folder that holds it" if here in above else f"lies {_MAX_DEPTH} folders deep"
        raise UserError(f"{folder} {reason}; remove it.")
    folders = []
    for entry in visible(folder):
        if is_folder(entry):
            folders.append(entry.name)
        else:
            yield prefix + entry.name
    for name in folders:
        yield from _walk(folder / name, f"{prefix}{name}/", (*above, here))


def _is_image(folder: Path, file: str) -> bool:
    suffix = Path(file).suffix.lower()
    if suffix:
        return suffix in IMAGE_SUFFIXES
    try:
        with open_regular(folder / file) as opened:
            format_of(opened.read(512))
    except (OSError, ImageError):
        return False
    return True


def is_ignored(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that operating systems add."""
    return name.startswith(".") or name.lower() in _SYSTEM
