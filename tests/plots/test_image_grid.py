"""The picture of labelled images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cifar100.plots.image_grid import COLUMNS, GAP, MAX_SIDE, SIDE, image_grid, shortened
from cifar100.plots.style import render


def random_images(number: int, height: int, width: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (number, height, width, 3), dtype=np.uint8)


def find(pixels: Any, block: Any) -> list[tuple[int, int]]:
    """Rows and columns at which a block of pixels is found."""
    height, width = block.shape[:2]
    corners = np.argwhere((pixels[: 1 - height or None, : 1 - width or None] == block[0, 0]).all(2))
    return [(r, c) for r, c in corners.tolist() if np.array_equal(pixels[r : r + height, c : c + width], block)]


@pytest.mark.parametrize(("side", "factor"), [(16, 8), (20, 6), (24, 5), (32, 4), (100, 1), (224, 1)])
def test_pixels_are_enlarged_by_a_whole_factor(side: int, factor: int) -> None:
    images = random_images(10, side, side)
    pixels = render(image_grid(images, ["cat"] * 10, title="title", subtitle="subtitle"))
    places = []
    for image in images:
        (place,) = find(pixels, np.kron(image, np.ones((factor, factor, 1), dtype=np.uint8)))
        places.append(place)
    assert len({row for row, _ in places}) == 2  # of 8 and 2 images
    assert places == sorted(places)
    assert len({column for _, column in places}) == COLUMNS


@pytest.mark.parametrize("shape", [(512, 512), (300, 700), (2000, 3)])
def test_large_images_are_reduced_by_the_mean_over_blocks(shape: tuple[int, int]) -> None:
    images = np.full((2, *shape, 3), (200, 8, 30), dtype=np.uint8)
    images[:, ::2, :, 1] = 6  # rows of 6 and 8
    pixels = render(image_grid(images, ["cat"] * 2, title="title", subtitle="subtitle"))
    shown = np.argwhere((pixels[..., 0] == 200) & (pixels[..., 2] == 30) & (abs(pixels[..., 1].astype(int) - 7) <= 1))
    height, width = shown.max(0) - shown.min(0) + 1
    assert height <= MAX_SIDE
    assert width <= 2 * MAX_SIDE + SIDE


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [1, 8, 9, 64])
def test_no_text_overlaps_another_or_an_image(number: int) -> None:
    names = ["aquarium_fish 0.7 /\npickup_truck 0.3", "日本語のクラス", shortened("W" * 80), "$a_b$ ^{2}", "cat"]
    labels = [names[index % len(names)] for index in range(number)]
    figure = image_grid(random_images(number, 16, 16), labels, title="title " * 4, subtitle="many facts, " * 30)
    pixels = render(figure)
    boxes = [text.get_window_extent() for text in figure.texts]
    assert all(box.width <= SIDE + GAP / 2 for box in boxes[2:])  # a gap is between two labels, whatever the hinting
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[:index])
    height, width = pixels.shape[:2]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    for image in figure.images:
        left, bottom = image.ox, image.oy
        across, up = image.get_array().shape[1], image.get_array().shape[0]
        assert not any(
            box.x1 > left and box.x0 < left + across and box.y1 > bottom and box.y0 < bottom + up for box in boxes
        )
    assert [text.get_text() for text in figure.texts[2:]] == labels
