"""The style of all plots, and how they become PNG files. Matplotlib is imported with the first figure."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cifar100.files.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREEN, PURPLE = "#3b6fb6", "#c8553d", "#2a9d6f", "#7a5195"
"""The colours of curves. Two curves are blue and red, which every reader can tell apart, unlike red and green."""

DOTS_PER_INCH = 150

Pixels = NDArray[np.uint8]
"""(height, width, 3)."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, whose parts do not overlap."""
    from matplotlib.figure import Figure  # pyplot would keep global state and need a display

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def style_axes(axes: Axes) -> None:
    """Draw a light grid and only the left and lower border."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def render(figure: Figure) -> Pixels:
    """Return the pixels of a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    with missing_glyphs_shown_as_boxes():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@contextmanager
def missing_glyphs_shown_as_boxes() -> Iterator[None]:
    """Silence matplotlib's warning about characters that its font lacks, such as those of a class name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        warnings.filterwarnings("ignore", "Matplotlib currently does not support .* natively")
        yield


def write_png(pixels: Pixels, path: Path) -> None:
    """Write pixels as a complete PNG file or none."""
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, format="png")
