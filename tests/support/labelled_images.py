"""Labelled images in the layouts in which people keep them. Two classes that differ by colour, or any others."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from custom_folder import paint
from numpy.typing import NDArray
from PIL import Image


def class_folders(
    root: Path, *, parts: Mapping[str, int] | None = None, classes: Sequence[str] = ("cat", "dog")
) -> Path:
    """Write `root/PART/CLASS/N.png`; the part is left out if its name is empty. parts: number of images of a class."""
    seed = 0
    for part, count in (parts or {"": 4}).items():
        for number, name in enumerate(classes):
            for index in range(count):
                paint(root / part / name / f"{index}.png", ("red", "blue")[number % 2], seed=seed)
                seed += 1
    return root


def arrays(number: int, *, side: int = 32, num_classes: int = 2, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return images uint8 (N, side, side, 3) and labels int64 (N,)."""
    images = np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), dtype=np.uint8)
    return images, np.arange(number) % num_classes


def png(pixels: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def parquet(
    path: Path,
    images: Iterable[NDArray[Any]],
    columns: Mapping[str, Any],
    *,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a file as Hugging Face's `datasets` does. names: class names of the columns of numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"img": [{"bytes": png(image), "path": None} for image in images], **columns})
    features = {column: {"names": list(values), "_type": "ClassLabel"} for column, values in (names or {}).items()}
    info = json.dumps({"info": {"features": {"img": {"_type": "Image"}, **features}}})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), path)
    return path
