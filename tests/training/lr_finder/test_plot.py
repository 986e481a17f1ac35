from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cifar100.training.lr_finder.plot import COLOURS, plot_result
from cifar100.training.lr_finder.suggestions import suggest


def test_the_plot_marks_every_suggestion_in_its_colour(tmp_path: Path) -> None:
    rates = np.geomspace(1e-5, 10, 300)
    result = suggest(rates.tolist(), (4.6 - 2 / (1 + (1e-2 / rates) ** 2)).tolist())
    assert result.suggestions.keys() == COLOURS.keys()
    plot_result(result, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in COLOURS.values():
        wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert (np.abs(pixels.astype(int) - wanted).max(1) <= 2).sum() > 20, colour
