"""A picture of images in rows, enlarged, each with a label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cifar100.plots.style import missing_glyphs_shown_as_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 128
"""Pixels to which the longer side of a small image is enlarged, by a whole factor that keeps its pixels square."""

MAX_SIDE = 256
"""Pixels to which a larger image is reduced."""

COLUMNS = 8
GAP, MARGIN, HEADER, LINE = 16, 24, 72, 19
"""Pixels between two images, around the picture, for the titles and for a line of a label."""

MAX_NAME = 24
"""Characters of a line of a label."""

DOTS_PER_INCH = 100


def image_grid(images: NDArray[np.uint8], labels: Sequence[str], *, title: str, subtitle: str) -> Figure:
    """Show images with a label above each, of one line or two.

    images: (N, H, W, 3), at least one. labels, title, subtitle: plain text.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    images = _scaled(images)
    height, width = images.shape[1:3]
    columns = min(COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    label_height = LINE * max(label.count("\n") + 1 for label in labels)
    cell_width, cell_height = max(width, SIDE) + GAP, label_height + height + GAP
    total = np.array([max(columns, 5) * cell_width - GAP + 2 * MARGIN, HEADER + rows * cell_height + MARGIN])
    figure = Figure(figsize=tuple(total / DOTS_PER_INCH), dpi=DOTS_PER_INCH, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()  # one for all texts: each takes milliseconds to make

    def write(text: str, x: float, y: float, *, limit: float, size: float, **style: Any) -> None:
        written = figure.text(x / total[0], 1 - y / total[1], text, fontsize=size, parse_math=False, **style)
        with missing_glyphs_shown_as_boxes():
            needed = written.get_window_extent(renderer).width
        written.set_fontsize(size * min(1.0, limit / max(needed, 1)))

    whole = total[0] - 2 * MARGIN
    write(title, MARGIN, MARGIN + 4, limit=whole, size=15, weight="bold", va="center")
    write(subtitle, MARGIN, MARGIN + 30, limit=whole, size=10.5, color="0.3", va="center")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * cell_width, HEADER + row * cell_height + label_height
        inset = (cell_width - GAP - width) // 2
        figure.figimage(image, left + inset, total[1] - top - height)
        write(label, left + (cell_width - GAP) / 2, top - 4, limit=cell_width - GAP, size=9, ha="center", va="bottom")
    return figure


def shortened(name: str) -> str:
    """Return a name in the width of a label."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}..."


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge small images by nearest neighbour, and reduce large ones by the mean over blocks of pixels."""
    longest = max(images.shape[1:3])
    if longest > MAX_SIDE:
        block = math.ceil(longest / MAX_SIDE)
        height, width = (max(1, side // block) for side in images.shape[1:3])
        whole = images[:, : height * block, : width * block]
        parts = whole.reshape(len(images), height, -1, width, whole.shape[2] // width, 3)
        means: NDArray[np.float64] = parts.mean(axis=(2, 4))
        return means.astype(np.uint8)
    factor = max(1, round(SIDE / longest))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)
