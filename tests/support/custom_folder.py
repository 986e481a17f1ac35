"""Folders of custom data, as a person makes them: images of two colours, and CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}


def paint(path: Path, colour: str, *, seed: int = 0) -> None:
    """Write an image of noise around a colour. The same seed gives the same file."""
    noise = np.random.default_rng(seed).integers(-30, 31, (32, 32, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8)).save(path)


def write_csv(path: Path, files: Sequence[str], labels: Sequence[int]) -> None:
    rows = [f"{file},{label},{list(COLOURS)[label]}\n" for file, label in zip(files, labels, strict=True)]
    path.write_text("file,fine_label,fine_name\n" + "".join(rows))


def make_custom(root: Path, *, train: int = 20, val: int = 0, test: int = 6) -> Path:
    """Write `train.csv`, and `val.csv` and `test.csv` unless they would be empty; the classes alternate."""
    seed = 0
    for split, count in (("train", train), ("val", val), ("test", test)):
        files = [f"{split}_images/{index:02d}.png" for index in range(count)]
        labels = [index % 2 for index in range(count)]
        for file, label in zip(files, labels, strict=True):
            paint(root / file, list(COLOURS)[label], seed=seed)
            seed += 1
        if count:
            write_csv(root / f"{split}.csv", files, labels)
    return root
