"""A prepared folder of custom data with a few images, made by code that shares nothing with preparation."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from cifar100.data.dataset_info import DatasetInfo, write_info
from cifar100.data.folder.layout import DataFolder


def make_folder(root: Path, *, num_train: int = 60, num_test: int = 10, num_classes: int = 5) -> DatasetInfo:
    folder = DataFolder(root)
    folder.packed.mkdir(parents=True)
    sha256 = {}
    generator = np.random.default_rng(0)
    for split, count in (("train", num_train), ("test", num_test)):
        images = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        labels = np.arange(count, dtype=np.int64) % num_classes
        np.save(folder.packed_images(split), images)
        np.save(folder.packed_labels(split), labels)
        sha256[split] = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
        (root / f"{split}_images").mkdir()
        with (root / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "fine_label", "fine_name"])
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                Image.fromarray(image.transpose(1, 2, 0)).save(root / f"{split}_images" / f"{index:03d}.png")
                writer.writerow([f"{split}_images/{index:03d}.png", label, f"class_{label}"])
    pixels = np.load(folder.packed_images("train")) / 255
    info = DatasetInfo(
        name="small",
        origin="custom",
        class_names=tuple(f"class_{label}" for label in range(num_classes)),
        superclass_names=(),
        class_to_superclass=(),
        num_train=num_train,
        num_test=num_test,
        sha256=sha256,
        mean=tuple(pixels.mean(axis=(0, 2, 3)).tolist()),
        std=tuple(pixels.std(axis=(0, 2, 3)).tolist()),
    )
    write_info(info, folder.info_file)
    return info
