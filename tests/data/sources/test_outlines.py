from __future__ import annotations

import cv2
import numpy as np
import pytest

from cifar100.data.sources.outlines import OUTLINES


def test_there_are_twenty_in_alphabetical_order() -> None:
    assert len(OUTLINES) == 20
    assert list(OUTLINES) == sorted(OUTLINES)


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_fill_the_unit_circle(name: str) -> None:
    points = np.concatenate(OUTLINES[name])
    assert 0.85 < np.hypot(*points.T).max() <= 1 + 1e-9
    canvas = np.zeros((200, 200), dtype=np.uint8)
    cv2.fillPoly(canvas, [np.rint(100 + 99 * contour).astype(np.int32) for contour in OUTLINES[name]], 1)
    assert canvas.mean() > 0.1, "too thin to carry a texture"
    assert cv2.connectedComponents(canvas, connectivity=4)[0] == 2, "one piece on one background"
