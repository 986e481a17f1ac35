"""Labelled images in a .npz file, under the names that Keras, MedMNIST and others use."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cifar100.data.layouts.class_folders import Part
from cifar100.data.layouts.contained import ContainedImage, container_files, label_text
from cifar100.errors import UserError
from cifar100.files.regular import open_regular
from cifar100.files.untrusted_zip import open_zip, read_member
from cifar100.foreign_text import printable, reason

MAX_MEMBERS = 100
MAX_BYTES = 64 * 2**30
"""Of all arrays, uncompressed. Images are read a few at a time."""

MAX_LABEL_BYTES = 256 * 2**20

MAX_IMAGE_BYTES = 512 * 2**20
_PART_BYTES = 16 * 2**20
"""Read at a time, unless one image has more."""

_IMAGES = ("images", "x", "data", "imgs")
_LABELS = ("labels", "y", "label", "targets", "target")
_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
CLASS_NAMES = "class_names"
"""Array of text that names the labels 0 .. C - 1, if there is one."""

EXPECTED = (
    "expected arrays of images and labels, named x_train and y_train, train_images and train_labels, or images and "
    "labels"
)


class _Pair(NamedTuple):
    images: str
    labels: str


class ArrayFile:
    """The labelled images of a .npz file; a `Container`."""

    def __init__(self, path: Path) -> None:
        """Read the headers and the labels of `path`, a file or a folder with one.

        Raises:
            UserError: the file is damaged, or its arrays are no images and labels.
        """
        self.files = container_files(path, ".npz")
        if len(self.files) > 1:
            raise UserError(f"{path} holds {len(self.files):,} .npz files; pass one of them.")
        self._file = self.files[0]
        with _opened(self._file) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            self._pairs = _find_pairs(self._file, members)
            names = _find(members, (CLASS_NAMES,))
            self._names = [] if names is None else _texts(_read_labels(archive, members[names]).tolist(), names)
            self._labels: dict[Part, list[Any]] = {}
            for part, pair in self._pairs.items():
                labels = _read_labels(archive, members[pair.labels])
                with archive.open(members[pair.images]) as stream:
                    shape, _ = _image_header(stream, archive.getinfo(members[pair.images]).file_size, pair.images)
                if shape[0] != len(labels):
                    raise ValueError(
                        f"{pair.images} holds {shape[0]:,} images, but {pair.labels} {len(labels):,} labels"
                    )
                self._labels[part] = labels.tolist()

    @property
    def counts(self) -> Mapping[Part, int]:
        """Number of images of each split."""
        return {part: len(labels) for part, labels in self._labels.items()}

    @property
    def found(self) -> str:
        """What was found, as a phrase."""
        return f"a .npz file ({', '.join(printable(name) for pair in self._pairs.values() for name in pair)})"

    def images(self, part: Part) -> Iterator[ContainedImage]:
        """Yield the images of a split; see `Container`."""
        if part not in self._pairs:
            return
        pair = self._pairs[part]
        with _opened(self._file) as archive:
            member = archive.getinfo(f"{pair.images}.npy")
            with archive.open(member) as stream:
                shape, axes = _image_header(stream, member.file_size, pair.images)
                rows = max(1, _PART_BYTES // math.prod(shape[1:]))
                for start in range(0, shape[0], rows):
                    count = min(rows, shape[0] - start)
                    content = stream.read(count * math.prod(shape[1:]))
                    pixels = np.frombuffer(content, np.uint8).reshape(count, *shape[1:])  # raises if it is shorter
                    for index, image in enumerate(pixels, start=start):
                        yield self._image(image.transpose(axes), self._labels[part][index], pair, index)

    def _image(self, pixels: NDArray[np.uint8], value: Any, pair: _Pair, index: int) -> ContainedImage:
        place = f"{self._file}: {pair.labels}[{index}]"
        if not self._names or not isinstance(value, int):
            return ContainedImage(place, _without_axis(pixels), label_text(value, place))
        if not 0 <= value < len(self._names):
            raise UserError(f"{place} is {value}, expected 0 to {len(self._names) - 1}, as {CLASS_NAMES} has names.")
        return ContainedImage(place, _without_axis(pixels), str(value), self._names[value])


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with open_regular(file) as source, open_zip(source, max_members=MAX_MEMBERS, max_bytes=MAX_BYTES) as archive:
            yield archive
    except UserError:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds for a damaged file
        raise UserError(f"{file} cannot be read as images and labels ({reason(error)}); {EXPECTED}.") from error


def _find_pairs(file: Path, members: Mapping[str, str]) -> dict[Part, _Pair]:
    found: dict[Part, _Pair] = {}
    for part, names in _NAMES.items():
        images = _find(members, [text for name in names for what in _IMAGES for text in _both_orders(what, name)])
        labels = _find(members, [text for name in names for what in _LABELS for text in _both_orders(what, name)])
        if images and labels:
            found[part] = _Pair(images, labels)
        elif images or labels:
            raise UserError(f"{file} holds {images or labels}, but no {'labels' if images else 'images'}; {EXPECTED}.")
    images, labels = _find(members, (*_IMAGES, "arr_0")), _find(members, (*_LABELS, "arr_1"))
    if not found and images and labels:
        found["train"] = _Pair(images, labels)
    if "train" not in found:
        raise UserError(f"{file} holds {printable(', '.join(members), max_length=100) or 'nothing'}; {EXPECTED}.")
    return found


def _both_orders(what: str, part: str) -> tuple[str, str]:
    return f"{what}_{part}", f"{part}_{what}"


def _find(members: Mapping[str, str], names: Sequence[str]) -> str | None:
    by_lower = {name.lower(): name for name in members}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _header(stream: IO[bytes], num_bytes: int, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array in C order, after a check that the member has its size."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(stream)
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format, expected (1, 0)")
    shape, is_fortran, dtype = readers[version](stream)
    held = num_bytes - stream.tell()
    if dtype.hasobject or (is_fortran and len(shape) > 1):
        raise ValueError(f"{name} holds {'objects' if dtype.hasobject else 'Fortran order'}, expected a plain array")
    if any(type(size) is not int or size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"{name} declares {f'{shape}'[:80]} {dtype.name}, but holds {held:,} bytes")
    return shape, dtype


def _image_header(stream: IO[bytes], num_bytes: int, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape (N, ...) of an array of images, and the axes that make an image (H, W) or (H, W, channels)."""
    shape, dtype = _header(stream, num_bytes, name)
    axes: tuple[int, ...] | None = None
    if len(shape) == 3:
        axes = (0, 1)
    elif len(shape) == 4 and shape[3] in (1, 3, 4):
        axes = (0, 1, 2)
    elif len(shape) == 4 and shape[1] in (1, 3, 4):
        axes = (1, 2, 0)
    if axes is None or 0 in shape[1:]:
        raise ValueError(f"{name} has the shape {shape}, expected (N, height, width) or with 1, 3 or 4 channels")
    if math.prod(shape[1:]) > MAX_IMAGE_BYTES:
        raise ValueError(f"{name} has the shape {shape}; an image has at most {MAX_IMAGE_BYTES:,} bytes")
    if dtype != np.uint8:
        raise ValueError(f"{name} holds {dtype.name}, expected uint8, 0 to 255")
    return shape, axes


def _read_labels(archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    """Return labels (N,): whole numbers or text."""
    info = archive.getinfo(member)
    if info.file_size > MAX_LABEL_BYTES:
        raise ValueError(f"{member} has {info.file_size:,} bytes, expected at most {MAX_LABEL_BYTES:,} of labels")
    content = io.BytesIO(read_member(archive, info))
    shape, dtype = _header(content, info.file_size, member)
    if dtype.kind not in "iubUS":
        raise ValueError(f"{member} holds {dtype.name}, expected whole numbers or text")
    if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        raise ValueError(f"{member} has the shape {shape}, expected (N,): a label for each image")
    return np.frombuffer(content.getbuffer(), dtype, offset=content.tell()).reshape(shape[0])


def _texts(values: list[Any], name: str) -> list[str]:
    return [label_text(value, name) for value in values]


def _without_axis(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W) for (H, W, 1)."""
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
