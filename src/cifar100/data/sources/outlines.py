"""Define the twenty outlines of Shapes-100, as polygons around the origin.

An outline is a list of closed contours, float64 (K, 2) of x and y within the unit circle. A point inside an odd number
of contours belongs to the figure: a ring is a disc with a hole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Contour = NDArray[np.float64]
Outline = list[Contour]

_UP = -np.pi / 2  # y grows downwards
_CURVE_POINTS = 40  # a polygon with this many corners looks round at 32 x 32 pixels


def _polar(radius: NDArray[np.float64] | float, angle: NDArray[np.float64]) -> Contour:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _turn(num_points: int, *, start: float = 0.0, stop: float = 2 * np.pi) -> NDArray[np.float64]:
    return np.linspace(start, stop, num_points, endpoint=False)


def _regular(num_corners: int) -> Outline:
    return [_polar(1.0, _turn(num_corners) + _UP)]


def _spiked(num_spikes: int, *, inner: float) -> Outline:
    return [_polar(np.tile([1.0, inner], num_spikes), _turn(2 * num_spikes) + _UP)]


def _polygon(*corners: tuple[float, float]) -> Outline:
    """Centre the corners and scale the farthest onto the unit circle."""
    points = np.array(corners, dtype=np.float64)
    points -= (points.min(axis=0) + points.max(axis=0)) / 2
    return [points / np.hypot(*points.T).max()]


def _disc() -> Outline:
    return [_polar(0.9, _turn(_CURVE_POINTS))]


def _ring() -> Outline:
    angle = _turn(_CURVE_POINTS)
    return [_polar(1.0, angle), _polar(0.45, angle)]


def _crescent() -> Outline:
    outer = _polar(1.0, _turn(_CURVE_POINTS, start=0.75, stop=2 * np.pi - 0.75))
    tip_x, tip_y = outer[0]
    bite_x = 0.55  # centre of the circle that is cut out, through both tips
    inner_start = np.arctan2(-tip_y, tip_x - bite_x)
    bite = _polar(np.hypot(tip_x - bite_x, tip_y), _turn(24, start=2 * np.pi + inner_start, stop=-inner_start))
    return [np.concatenate([outer, bite + np.array([bite_x, 0.0])])]


def _drop() -> Outline:
    angle = _turn(_CURVE_POINTS)
    return [np.stack([np.cos(angle), 0.75 * np.sin(angle) * np.sin(angle / 2) ** 1.5], axis=1)]


def _flower() -> Outline:
    angle = _turn(2 * _CURVE_POINTS)
    return [_polar(0.72 + 0.28 * np.cos(5 * angle), angle)]


def _gear() -> Outline:
    teeth = 8
    step = np.pi / teeth
    angle = _turn(teeth)[:, None] + np.array([-0.5, -0.35, 0.35, 0.5]) * step
    radius = np.tile([0.72, 1.0, 1.0, 0.72], (teeth, 1))
    return [_polar(radius.ravel(), angle.ravel())]


def _heart() -> Outline:
    angle = _turn(_CURVE_POINTS)
    x = 16 * np.sin(angle) ** 3
    y = -13 * np.cos(angle) + 5 * np.cos(2 * angle) + 2 * np.cos(3 * angle) + np.cos(4 * angle)
    return _polygon(*zip(x.tolist(), y.tolist(), strict=True))


def _lens() -> Outline:
    angle = _turn(20, start=-0.95, stop=0.95)
    arc = _polar(1.0, np.append(angle, 0.95)) - [np.cos(0.95), 0.0]
    points = np.concatenate([arc, -arc[1:-1]])
    return _polygon(*((float(x), float(y)) for x, y in points))


OUTLINES: dict[str, Outline] = {
    "arrow": _polygon((0, 3), (6, 3), (6, 0), (11, 5), (6, 10), (6, 7), (0, 7)),
    "bar": _polygon((0, 0), (10, 0), (10, 4), (0, 4)),
    "bolt": _polygon((4, 0), (10, 0), (7.5, 4.5), (10.5, 4.5), (2, 13), (4.5, 7), (1.5, 7)),
    "corner": _polygon((0, 0), (4, 0), (4, 6), (10, 6), (10, 10), (0, 10)),
    "crescent": _crescent(),
    "cross": _polygon(
        *((3, 0), (7, 0), (7, 3), (10, 3), (10, 7), (7, 7)),
        *((7, 10), (3, 10), (3, 7), (0, 7), (0, 3), (3, 3)),
    ),
    "disc": _disc(),
    "drop": _drop(),
    "flower": _flower(),
    "gear": _gear(),
    "heart": _heart(),
    "hexagon": _regular(6),
    "hourglass": _polygon((0, 0), (9, 0), (5.8, 5.5), (9, 11), (0, 11), (3.2, 5.5)),
    "lens": _lens(),
    "pentagon": _regular(5),
    "ring": _ring(),
    "square": _polygon((0, 0), (1, 0), (1, 1), (0, 1)),
    "star": _spiked(5, inner=0.45),
    "tee": _polygon((0, 0), (10, 0), (10, 3.8), (6.9, 3.8), (6.9, 10), (3.1, 10), (3.1, 3.8), (0, 3.8)),
    "triangle": _regular(3),
}
"""Name -> outline, in alphabetical order."""
