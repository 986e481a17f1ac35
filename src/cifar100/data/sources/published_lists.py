"""Two published lists about CIFAR-100's test images: near-duplicates of training images, and label errors.

A list is downloaded once, verified by its checksum and kept in the data folder. A file with a list of the same form can
be read instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cifar100.data.sources.web import ServerError, fetch_verified, host
from cifar100.errors import UserError
from cifar100.files.atomic import what_to_do, write_atomically
from cifar100.files.regular import read_bytes, why_not
from cifar100.foreign_text import reason
from cifar100.terminal import report, warn

MAX_LIST_BYTES = 16 * 2**20
"""The larger of the two has 0.7 MB."""


@dataclass(frozen=True, kw_only=True)
class PublishedList:
    """Where a list is published, and its content."""

    name: str
    """Name of the file in the data folder."""

    url: str
    sha256: str
    num_bytes: int
    title: str
    """For results."""

    option: str
    """The option that reads it from a file."""


DUPLICATES = PublishedList(
    name="duplicates_cifar100.csv",
    url="https://raw.githubusercontent.com/cvjena/cifair/4c2764277f5fda8fec6784a78c1818eab13236c5/meta/duplicates_cifar100.csv",
    sha256="3891498a862f2d73df00cd5dc2ee9ae2b6dccf5238691d3c29d9abb12e1c63cb",
    num_bytes=29_214,
    title="ciFAIR's list of near-duplicates",
    option="--duplicates",
)
"""Barz and Denzler, "Do we train on test data? Purging CIFAR of near-duplicates", 2020. It names no licence."""

LABEL_ERRORS = PublishedList(
    name="cifar100_mturk.json",
    url="https://raw.githubusercontent.com/cleanlab/label-errors/6d5d6b31a13216290afc40e5c6319399c4d15c06/mturk/cifar100_mturk.json",
    sha256="b2b4fedc433e814c64fb33eff99976bbeee6355470e127b56d64bc5fb57493c0",
    num_bytes=730_027,
    title="cleanlab's list of label errors",
    option="--label-errors",
)
"""Northcutt, Athalye and Mueller, "Pervasive label errors in test sets", 2021. Apache License 2.0."""


@dataclass(frozen=True, kw_only=True)
class ListFile:
    """The content of a list and where it came from."""

    content: bytes
    place: str
    """The file, for error messages."""

    title: str
    """For results: the published list, or the path of a custom one."""

    is_published: bool
    """Whether the content is the published one, wherever it was read."""

    sha256: str


def read_published(published: PublishedList, root: Path) -> ListFile:
    """Return a published list from the data folder `root`; download it first if it is not there.

    Raises:
        UserError: it is not there, and cannot be downloaded.
    """
    path = root / published.name
    content = _read_kept(published, path)
    if content is None:
        content = _download(published, path)
    return _list_file(published, content, path)


def read_custom(published: PublishedList, path: Path) -> ListFile:
    """Return a list of the same form as a published one, from a file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return _list_file(published, read_bytes(path, limit=MAX_LIST_BYTES), path)
    except OSError as error:
        found = why_not("regular file", path) or f"cannot be read ({reason(error)})"
        raise UserError(f"{path} {found}; pass the file of a list with {published.option}.") from error


def _read_kept(published: PublishedList, path: Path) -> bytes | None:
    try:
        content = read_bytes(path, limit=published.num_bytes)
    except FileNotFoundError:
        return None
    except OSError as error:
        report(f"{path} cannot be read ({reason(error)}) and will be replaced")
        return None
    if hashlib.sha256(content).hexdigest() == published.sha256:
        return content
    report(f"{path} is not {published.title} (wrong checksum) and will be replaced")
    return None


def _download(published: PublishedList, path: Path) -> bytes:
    """Return the list, and keep it at `path`. If that is impossible, it is still worth using."""
    report(f"downloading {published.name} ({published.num_bytes / 1e3:.0f} kB) from {host(published.url)}")
    try:
        content = fetch_verified(published.url, sha256=published.sha256, num_bytes=published.num_bytes)
    except ServerError as problem:
        raise UserError(
            f"{published.name} could not be downloaded ({host(published.url)}: {problem}); check the network, or "
            f"download it by hand from {published.url} and pass it with {published.option} FILE."
        ) from problem
    try:
        write_atomically(path, content)
    except OSError as error:
        warn(f"{path} cannot be written ({error.strerror}), so the list will be downloaded again; {what_to_do(error)}.")
    return content


def _list_file(published: PublishedList, content: bytes, path: Path) -> ListFile:
    sha256 = hashlib.sha256(content).hexdigest()
    is_published = sha256 == published.sha256
    title = published.title if is_published else str(path)
    return ListFile(content=content, place=str(path), title=title, is_published=is_published, sha256=sha256)
