"""Draw Shapes-100, a data set in CIFAR-100's format for machines without the official release.

A superclass is an outline (star, heart), a class is an outline filled with a texture (striped star, dotted star).
Position, size, rotation, stretch, colours, background, clutter, light, noise and a strip across the figure are random,
so that no single pixel or colour reveals the class.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from cifar100.data.sources.outlines import OUTLINES
from cifar100.data.sources.release import Release, ReleaseSplit
from cifar100.long_steps import progress

NAME = "Shapes-100"

NUM_IMAGES = 60_000
"""Training and test images of the full set, as many as CIFAR-100 has."""

SHA256 = {
    "train": "9d4422ab1a2fe3a9415310ccec30d041e90bb89dfb9ff395f97ca8bbb436e2df",
    "test": "91b09c05d889b2f0a3009cca6826b589e2ded091b17a651dabbe7245559ebd21",
}
"""`ReleaseSplit.sha256` of the reference, drawn with OpenCV 4.12 to 5.0 on x86-64.

OpenCV 4.11 draws lines differently. Without Intel's IPP, on other processors, OpenCV rounds three pixel values in a
million differently.
"""

Floats = NDArray[np.float32]

_SIDE = 32
_SUPERSAMPLING = 3  # figures are drawn this much larger, then averaged: smooth edges
_CHUNK = 100  # images drawn from one random stream; changing it changes the data set


def _striped(x: Floats, y: Floats) -> Floats:
    return np.floor(x) % 2


def _checkered(x: Floats, y: Floats) -> Floats:
    return (np.floor(x) + np.floor(y)) % 2


def _dotted(x: Floats, y: Floats) -> Floats:
    dx, dy = x / 2 - np.floor(x / 2) - 0.5, y / 2 - np.floor(y / 2) - 0.5
    inside: Floats = (dx * dx + dy * dy < 0.33**2).astype(np.float32)
    return inside


# A texture is 1 for the second colour and 0 for the first, at coordinates whose unit is half a period. `bordered` and
# `solid` have no pattern: the border is drawn along the outline.
_TEXTURES: dict[str, Callable[[Floats, Floats], Floats] | None] = {
    "bordered": None,
    "checkered": _checkered,
    "dotted": _dotted,
    "solid": None,
    "striped": _striped,
}

SUPERCLASS_NAMES = tuple(OUTLINES)
CLASS_NAMES = tuple(f"{texture}_{outline}" for texture in _TEXTURES for outline in OUTLINES)
"""In alphabetical order, as in CIFAR-100; the superclass of label k is k % 20."""


def name(sha256: dict[str, str], *, num_images: int) -> str:
    """Return the name of a drawn data set; it marks a full set whose content differs from the reference.

    Nobody should compare accuracies on different images unnoticed. The number of images marks a smaller set.
    """
    if num_images != NUM_IMAGES or sha256 == SHA256:
        return NAME
    return f"{NAME} (not the reference: drawn with another OpenCV or processor)"


def draw(*, train_per_class: int = 500, test_per_class: int = 100, seed: int = 0) -> Release:
    """Draw the data set; the same seed gives the same images for any number of processors."""
    counts = (train_per_class * len(CLASS_NAMES), test_per_class * len(CLASS_NAMES))
    with progress(f"Drawing {NAME}", total=sum(counts)) as advance:
        train, test = (_draw_split(count, [seed, split], advance) for split, count in enumerate(counts))
    return Release(train=train, test=test, class_names=CLASS_NAMES, superclass_names=SUPERCLASS_NAMES)


def _draw_split(count: int, seed: list[int], advance: Callable[[int], None]) -> ReleaseSplit:
    labels = np.random.default_rng(seed).permutation(np.arange(count) % len(CLASS_NAMES))
    images = np.empty((count, 3, _SIDE, _SIDE), dtype=np.uint8)

    def draw_chunk(start: int) -> int:
        chunk = slice(start, start + _CHUNK)
        images[chunk] = _draw_images(labels[chunk], np.random.default_rng([*seed, 1 + start]))
        return len(images[chunk])

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy and cv2 release the GIL
        for done in pool.map(draw_chunk, range(0, count, _CHUNK)):
            advance(done)
    return ReleaseSplit(images=images, fine_labels=labels, coarse_labels=labels % len(SUPERCLASS_NAMES))


def _draw_images(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return uint8 (N, 3, 32, 32)."""
    coverage, second = _draw_figures(labels, rng)  # (N, 32, 32) each
    first_colour = rng.uniform(0, 255, size=(len(labels), 3)).astype(np.float32)
    second_colour = _farthest_colours(first_colour, 2, rng)
    background_colour = _farthest_colours(first_colour, 2, rng)
    weights = np.stack([coverage - second, second], axis=-1)  # (N, 32, 32, 2)
    images = _draw_backgrounds(background_colour, rng) * (1 - coverage[..., None])
    images += weights[..., :1] * first_colour[:, None, None] + weights[..., 1:] * second_colour[:, None, None]
    _cross_with_strips(images, rng)
    images *= _light(len(labels), rng)
    noise_level = rng.uniform(2, 16, size=(len(labels), 1, 1, 1)).astype(np.float32)
    images += noise_level * rng.standard_normal(images.shape, dtype=np.float32)
    pixels: NDArray[np.uint8] = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    return pixels.transpose(0, 3, 1, 2)


def _draw_figures(labels: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the fraction of each pixel in the figure, and in its second colour, each float32 (N, 32, 32)."""
    side = _SIDE * _SUPERSAMPLING
    masks, second = np.zeros((2, len(labels), side, side), dtype=np.uint8)
    _draw_outlines(labels, masks, second, rng)
    _draw_patterns(labels, second, rng)
    return _reduce(masks), _reduce(masks * second)


def _draw_outlines(
    labels: NDArray[np.int64], masks: NDArray[np.uint8], second: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    """Set the figures to 1 in the masks, (N, 96, 96), and their borders in `second`."""
    count = len(labels)
    centre = rng.uniform(11, 21, size=(count, 2)) * _SUPERSAMPLING
    radius = rng.uniform(9, 14, size=count) * _SUPERSAMPLING
    stretch = rng.uniform(0.85, 1.0, size=count)
    angle = rng.uniform(0, 2 * np.pi, size=count)
    for i, label in enumerate(labels):
        cos, sin = np.cos(angle[i]), np.sin(angle[i])
        matrix = radius[i] * np.array([[cos, sin], [-sin * stretch[i], cos * stretch[i]]])
        contours = [
            np.rint(16 * (contour @ matrix + centre[i])).astype(np.int32)
            for contour in OUTLINES[SUPERCLASS_NAMES[label % len(SUPERCLASS_NAMES)]]
        ]
        cv2.fillPoly(masks[i], contours, 1, shift=4)  # shift: coordinates are in sixteenths of a pixel
        if CLASS_NAMES[label].startswith("bordered"):
            cv2.polylines(second[i], contours, True, 1, thickness=4 * _SUPERSAMPLING, shift=4)


def _draw_patterns(labels: NDArray[np.int64], second: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Set the patterns to 1 in `second`, (N, 96, 96), inside and outside of the figures."""
    half_period = rng.uniform(1.8, 2.8, size=len(labels)) * _SUPERSAMPLING
    angle = rng.uniform(0, 2 * np.pi, size=len(labels))
    cos, sin = np.stack([np.cos(angle), np.sin(angle)])[..., None, None] / half_period[:, None, None]
    phase = rng.uniform(0, 2, size=(2, len(labels), 1, 1))
    cos, sin, phase = cos.astype(np.float32), sin.astype(np.float32), phase.astype(np.float32)
    column = np.arange(second.shape[2], dtype=np.float32)[None, None, :]
    row = np.arange(second.shape[1], dtype=np.float32)[None, :, None]
    for k, pattern in enumerate(_TEXTURES.values()):
        i = np.flatnonzero(labels // len(SUPERCLASS_NAMES) == k)
        if pattern is not None:
            x = cos[i] * column + sin[i] * row + phase[0, i]
            y = sin[i] * column - cos[i] * row + phase[1, i]
            second[i] = pattern(x, y)


def _reduce(masks: NDArray[np.uint8]) -> Floats:
    """Average uint8 0/1 (N, 96, 96) over squares of 3 x 3: float32 (N, 32, 32)."""
    rows = masks[:, 0::3] + masks[:, 1::3] + masks[:, 2::3]
    sums = rows[:, :, 0::3] + rows[:, :, 1::3] + rows[:, :, 2::3]
    averages: Floats = sums.astype(np.float32) / np.float32(_SUPERSAMPLING**2)
    return averages


def _farthest_colours(colours: Floats, num_candidates: int, rng: np.random.Generator) -> Floats:
    """Return the farthest of several random colours from each colour, float32 (N, 3) in 0..255."""
    candidates = rng.uniform(0, 255, size=(len(colours), num_candidates, 3)).astype(np.float32)
    farthest = np.square(candidates - colours[:, None]).sum(axis=2).argmax(axis=1)
    chosen: Floats = candidates[np.arange(len(colours)), farthest]
    return chosen


def _draw_backgrounds(base: Floats, rng: np.random.Generator) -> Floats:
    """Return float32 (N, 32, 32, 3) in 0..255: smooth variations of a colour (N, 3) with lines and discs."""
    count = len(base)
    spread = rng.uniform(5, 60, size=(count, 1, 1, 1))
    coarse = (base[:, None, None] + spread * rng.standard_normal((count, 4, 4, 3))).astype(np.float32)
    images = np.empty((count, _SIDE, _SIDE, 3), dtype=np.float32)
    for image, colours in zip(images, coarse, strict=True):
        cv2.resize(colours, (_SIDE, _SIDE), dst=image, interpolation=cv2.INTER_CUBIC)
        for _ in range(rng.integers(0, 6)):
            start, stop = rng.integers(0, _SIDE, size=(2, 2)).tolist()
            colour = rng.uniform(0, 255, size=3).tolist()
            if rng.random() < 0.6:
                cv2.line(image, start, stop, colour, thickness=int(rng.integers(1, 4)))
            else:
                cv2.circle(image, start, int(rng.integers(2, 6)), colour, thickness=-1)
    return images


def _cross_with_strips(images: Floats, rng: np.random.Generator) -> None:
    """Draw a strip across half of the images, in place."""
    for image in images:
        if rng.random() < 0.5:
            start, stop = rng.integers(0, _SIDE, size=(2, 2)).tolist()
            cv2.line(image, start, stop, rng.uniform(0, 255, size=3).tolist(), thickness=int(rng.integers(1, 4)))


def _light(count: int, rng: np.random.Generator) -> Floats:
    """Return brightness factors, float32 (N, 32, 32, 1), that grow towards one side."""
    grid = np.linspace(-1, 1, _SIDE, dtype=np.float32)
    slope_x, slope_y = rng.uniform(-0.3, 0.3, size=(2, count, 1, 1, 1)).astype(np.float32)
    level = rng.uniform(0.7, 1.15, size=(count, 1, 1, 1)).astype(np.float32)
    factors: Floats = level + slope_x * grid[None, None, :, None] + slope_y * grid[None, :, None, None]
    return factors
