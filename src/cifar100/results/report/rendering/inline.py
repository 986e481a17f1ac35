"""Figures and pixels as parts of an HTML page: SVG whose colours are those of the page, and PNG as data URIs."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from cifar100.foreign_text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOREGROUND = "#010203"
"""Drawn in the colour of the text around the figure."""

SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215", "#010216", "#010217", "#010218")
"""Drawn in the colours --series-1 to --series-8 of the page, which differ between light and dark."""

DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
"""Of the first eight curves, the next eight, ..."""

MAX_CURVES = len(SERIES) * len(DASHES)

POINTS_PER_INCH = 72


def curve_style(index: int) -> dict[str, Any]:
    """Return colour and dashes of a curve; no two of the first `MAX_CURVES` look the same."""
    assert index < MAX_CURVES
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index // len(SERIES)]}


def new_axes(width: float = 360, height: float = 240) -> tuple[Figure, Axes]:
    """Return an empty figure with axes, of a size in CSS pixels."""
    from matplotlib.figure import Figure  # pyplot would keep global state and need a display

    figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.grid(color=FOREGROUND, alpha=0.15, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=FOREGROUND, alpha=0.5, linewidth=0.8)
    axes.tick_params(color=FOREGROUND, labelcolor=FOREGROUND, labelsize=10, width=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=FOREGROUND, fontsize=10.5)
    return figure, axes


def svg(figure: Figure, *, name: str, description: str) -> Markup:
    """Return a figure as an SVG element. Text stays text, in the font of the page.

    Args:
        figure: drawn with `FOREGROUND` and `SERIES`.
        name: unique in the page; begins all ids.
        description: for readers who cannot see it.
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format")))
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r'font: ([\d.]+px)[^;"]*', r"font-size: \1", text)  # matplotlib before 3.11
    text = re.sub(r'font-family: [^"]*?; ', "", text)
    text = re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text)
    text = text.replace(FOREGROUND, "currentColor")
    for number, colour in enumerate(SERIES, 1):
        text = text.replace(colour, f"var(--series-{number})")
    title = Markup("<title>{}</title>").format(printable(description))
    start = text.index(">") + 1
    # Matplotlib has escaped every text in the figure.
    return Markup(text[:start]) + title + Markup(text[start:].strip())


def png_uri(pixels: NDArray[np.uint8]) -> Markup:
    """Return pixels, uint8 (H, W, 3) or with opacity (H, W, 4), as the data URI of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png", optimize=True)
    return Markup("data:image/png;base64,{}").format(base64.b64encode(file.getvalue()).decode())
