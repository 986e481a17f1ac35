"""The images that a person names: files, folders, globs, URLs and standard input; or that a program has in memory."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.folder.image_files import MAX_FILE_BYTES, read_content
from cifar100.data.given_images import GivenImages, named_images, read_given
from cifar100.data.layouts.files_below import IMAGE_SUFFIXES, is_ignored, natural
from cifar100.data.sources.web import ServerError, fetch
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.foreign_text import printable
from cifar100.terminal import is_terminal, warn

STANDARD_INPUT = "-"

MAX_URL_BYTES = 64 * 2**20
"""Of an image from a URL; a photograph of 100 megapixels has 40 MB."""


class _Url(str):
    """The address of an image."""


class _StandardInput(str):
    """`-`, the place of an image."""


class NamedFiles(list[str]):
    """The images that a person has named, each a file, a URL or standard input."""


def find_images(images: GivenImages) -> NamedFiles | Iterator[tuple[str, Any]]:
    """Return what `read_found` reads: a list if all images are named by text or paths, else an iterator.

    A folder stands for the image files below it, without hidden ones, in natural order. A glob stands for
    the files and folders that it matches, with `**` for any folders. `http://` and `https://` begin a URL. `-` is the
    content of an image file on standard input.

    Raises:
        UserError: there are none, or a folder or a glob has none.
    """
    if isinstance(images, (str, os.PathLike)):
        images = [images]
    if not isinstance(images, (list, tuple)) or not all(isinstance(image, (str, os.PathLike)) for image in images):
        return _one_by_one(images)
    names = NamedFiles(name for image in images for name in _found(image))
    if not names:
        raise UserError("images is an empty list; pass at least one image.")
    if sum(isinstance(name, _StandardInput) for name in names) > 1:
        raise UserError(f"{STANDARD_INPUT} is given several times, but standard input holds one image; pass it once.")
    return names


def wait_for_servers(names: NamedFiles) -> bool:
    """Return whether reading these images waits for servers more than it computes."""
    return any(isinstance(name, _Url) for name in names)


def _one_by_one(images: GivenImages) -> Iterator[tuple[str, Any]]:
    for name, image in named_images(images):
        yield from ((found if isinstance(found, str) else name, found) for found in _found(image))


def read_found(name: str, image: Any, *, side: int) -> NDArray[np.uint8]:
    """Return the pixels of an image that was found, uint8 (side, side, 3).

    Raises:
        UserError: it cannot be read; begins with its name.
    """
    if isinstance(image, _Url):
        return read_content(_content_of_url(image), image, side=side)
    if isinstance(image, _StandardInput):
        return read_content(_standard_input(), "standard input", side=side)
    return read_given(name, image, side=side)


def _found(image: Any) -> Iterable[Any]:
    """Return the files that a text or a path stands for; anything else as it is."""
    if not isinstance(image, (str, os.PathLike)):
        return [image]
    if image == STANDARD_INPUT:
        return [_StandardInput(image)]
    if isinstance(image, str) and image.lower().startswith(("http://", "https://")):
        return [_Url(image)]
    path = user_path(image)
    if path.is_dir():
        return _below(str(path))
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [str(path)]
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # which takes no absolute patterns
    if not matches:
        raise UserError(f"{path} matches no file; pass image files, a folder or another pattern.")
    files = (name for match in matches for name in (_below(match) if Path(match).is_dir() else [match]))
    return list(dict.fromkeys(files))  # `**/*` matches the files in a folder beside the folder


def _below(folder: str) -> list[str]:
    """Return the image files in a folder and the folders below it, through links; says which others are left out.

    Raises:
        UserError: there are none.
    """
    found: list[str] = []
    others: Counter[str] = Counter()
    _collect(folder, found, others, above=set())
    kinds = ", ".join(f"{printable(suffix, max_length=20)} {count:,}" for suffix, count in others.most_common(5))
    count = others.total()
    if not found:
        there = f" among {count:,} file{'s' * (count > 1)} ({kinds})" if others else ""
        expected = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(
            f"{folder} holds no image files{there}, expected names that end with {expected}; pass another folder, or "
            "the files by name."
        )
    if others:
        what = f"{count:,} files are left out: their names are" if count > 1 else "1 file is left out: its name is"
        warn(f"{folder}: {what} not those of images ({kinds}).")
    return found


def _collect(folder: str, found: list[str], others: Counter[str], *, above: set[tuple[int, int]]) -> None:
    """Append the image files of a folder, and count the others. `above`: the folders around it, for links to them."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
        status = Path(folder).stat()
    except OSError:
        found.append(folder)  # reading it says why
        return
    place = (status.st_dev, status.st_ino)
    for entry in entries if place not in above else ():
        suffix = Path(entry.name).suffix.lower()
        if is_ignored(entry.name):
            continue
        if Path(entry.path).is_dir():  # unlike `entry.is_dir`, not an error for a link that leads to itself
            _collect(entry.path, found, others, above=above | {place})
        elif suffix in IMAGE_SUFFIXES:
            found.append(entry.path)
        else:
            others[suffix or "no suffix"] += 1


def _content_of_url(url: str) -> bytes:
    try:
        return fetch(url, max_bytes=MAX_URL_BYTES)
    except ServerError as error:
        raise UserError(f"{url} cannot be fetched ({error}); check the address, or download the file.") from error


def _standard_input() -> bytes:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or is_terminal(sys.stdin):
        raise UserError(f"standard input is not an image; pipe a file: cifar100 predict RUN {STANDARD_INPUT} < IMAGE")
    try:
        content: bytes = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise UserError(f"standard input cannot be read ({error}).") from error
    if len(content) > MAX_FILE_BYTES:
        raise UserError(f"standard input has more than {MAX_FILE_BYTES:,} bytes; scale the image down.")
    return content
