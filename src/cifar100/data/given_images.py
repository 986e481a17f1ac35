"""Images as programs have them - paths, file contents, Pillow images, arrays, tensors - as pixels for a network."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cifar100.data.folder.image_files import read_content, read_image, read_opened
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.process.processors import usable_processors

if TYPE_CHECKING:
    from torch import Tensor

BATCH_SIZE = 256
"""Maximum number of images in one forward pass of a prediction."""

MAX_THREADS = 8
"""Each reads an image at a time. All together take as much memory as one of the largest; see `data.decoding.memory`."""

GivenImage: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | Tensor"
"""An image: a path, the content of an image file, an image of Pillow, or pixels, uint8 (H, W, 3) or (3, H, W), RGB."""

GivenImages: TypeAlias = "GivenImage | Iterable[GivenImage]"
"""An image, several of any kind and size, or a batch: uint8 (N, H, W, 3) or (N, 3, H, W)."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_EXPECTED = (
    "expected paths, contents of image files (bytes), Pillow images, or arrays or tensors of pixels, uint8 "
    "(N, H, W, 3) or (N, 3, H, W)"
)


def named_images(images: Any) -> Iterator[tuple[str, Any]]:
    """Yield each image of `GivenImages` with its name for messages: its path, or its place, such as `images[3]`.

    Raises:
        UserError: `images` is of another kind.
    """
    if isinstance(images, (str, os.PathLike, bytes, Image.Image)) or getattr(images, "ndim", 4) == 3:
        images = [images]
    elif hasattr(images, "shape") and getattr(images, "ndim", 0) != 1:  # 1: paths in an array or a column of a table
        images = _rgb_last(images, "images", ndim=4)
    elif not isinstance(images, Iterable) or isinstance(images, (dict, bytearray)):
        raise UserError(f"images is a value of type {type(images).__name__}, {_EXPECTED}.")
    for place, image in enumerate(images):
        yield (os.fspath(image) if isinstance(image, (str, os.PathLike)) else f"images[{place}]"), image


def read_given(name: str, image: Any, *, side: int) -> NDArray[np.uint8]:
    """Return the pixels of an image as `read_image` does, uint8 (side, side, 3).

    Raises:
        UserError: it cannot be read, or is of another kind; begins with `name`.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(user_path(image), side=side)
    if isinstance(image, bytes):
        return read_content(image, name, side=side)
    if isinstance(image, Image.Image):
        return read_opened(image, name, side=side)
    pixels = _rgb_last(image, name, ndim=3)
    if pixels.shape[:2] == (side, side):
        return pixels
    return read_opened(Image.fromarray(np.ascontiguousarray(pixels)), name, side=side)


def pixel_batches(images: Any, *, side: int) -> Iterator[NDArray[np.uint8]]:
    """Yield images of `GivenImages` in order as batches, uint8 (n, 3, side, side), with n up to `BATCH_SIZE`.

    Threads read later images while the caller works on a batch.

    Raises:
        UserError: an image cannot be read, or is of another kind; names it.
    """
    if is_batch(images, side):
        pixels = _array(images)
        yield from (pixels[start : start + BATCH_SIZE] for start in range(0, len(pixels), BATCH_SIZE))
        return
    for batch in in_batches(
        read_ahead(lambda item: read_given(*item, side=side), named_images(images), ahead=ahead(images))
    ):
        yield stack(batch)


def ahead(images: Any) -> int:
    """Return how many images to read in advance: few of an iterator, whose images may be large and only now be made."""
    return 2 * BATCH_SIZE if isinstance(images, (list, tuple)) else 2 * MAX_THREADS


def is_batch(images: Any, side: int) -> bool:
    """Return whether this is an array or a tensor that a network takes as it is, uint8 (N, 3, side, side)."""
    return _dtype(images) == "uint8" and tuple(images.shape[1:]) == (3, side, side)


def stack(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return images, each (H, W, 3), as one batch (N, 3, H, W)."""
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], *, ahead: int, threads: int | None = None
) -> Iterator[Result]:
    """Yield `read(item)` of each item in order. Threads read up to `ahead` items in advance, also between two calls.

    threads: the default is one for each processor, at most `MAX_THREADS`.
    """
    tasks: SimpleQueue[tuple[Future[Result], Item] | None] = SimpleQueue()
    waiting: deque[Future[Result]] = deque()
    number = threads or min(MAX_THREADS, usable_processors())
    for _ in range(number):
        # Daemon threads, not those of an executor: the program must not wait at its end for a slow server.
        Thread(target=_work, args=(read, tasks), name="reads images", daemon=True).start()
    try:
        for item in items:
            waiting.append(Future())
            tasks.put((waiting[-1], item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        for _ in range(number):
            tasks.put(None)


def _work(read: Callable[[Item], Result], tasks: SimpleQueue[tuple[Future[Result], Item] | None]) -> None:
    while (task := tasks.get()) is not None:
        future, item = task
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(read(item))
        except BaseException as error:  # raised again in the caller's thread
            future.set_exception(error)


def in_batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield the items in lists of `BATCH_SIZE`; the last one may be shorter."""
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, BATCH_SIZE)):
        yield batch


def _rgb_last(pixels: Any, name: str, *, ndim: int) -> NDArray[np.uint8]:
    """Return pixels of `ndim` dimensions as an array with the colours in its last one.

    Raises:
        UserError: they are of another kind, type or shape.
    """
    dtype = _dtype(pixels)
    if dtype is None:
        raise UserError(f"{name} is a value of type {type(pixels).__name__}, {_EXPECTED}.")
    shape = tuple(pixels.shape)
    if len(shape) != ndim or dtype != "uint8" or 3 not in (shape[-1], shape[-3]) or 0 in shape[-3:]:
        first = "N, " * (ndim - 3)
        found = f"{dtype} ({', '.join(map(str, shape))})"
        raise UserError(f"{name} is {found}, expected pixels in 0..255, uint8 ({first}H, W, 3) or ({first}3, H, W).")
    array = _array(pixels)
    return array if shape[-1] == 3 else np.moveaxis(array, -3, -1)


def _dtype(pixels: Any) -> str | None:
    """Return the name of an array's or a tensor's type; None for anything else. Does not need torch."""
    has_shape = hasattr(pixels, "shape") and hasattr(pixels, "dtype")
    return str(pixels.dtype).rpartition(".")[2] if has_shape else None


def _array(pixels: Any) -> NDArray[np.uint8]:
    return np.asarray(pixels.detach().cpu() if hasattr(pixels, "detach") else pixels)
