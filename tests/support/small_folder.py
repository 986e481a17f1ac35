"""A prepared data folder of a few images, made by code that shares nothing with preparation."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from cifar100.data.folder.layout import DataFolder, DatasetInfo, write_info


def make_folder(root: Path, *, num_train: int = 60, num_test: int = 10, num_classes: int = 5) -> DatasetInfo:
    folder = DataFolder(root)
    (root / "cifar100_images").mkdir(parents=True)
    folder.packed.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", num_train), ("test", num_test)):
        images = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        labels = np.arange(count, dtype=np.int64) % num_classes
        np.save(folder.packed_images(split), images)
        np.save(folder.packed_labels(split), labels)
        (folder.images / split).mkdir()
        with folder.csv(split).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "fine_label"])
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                Image.fromarray(image.transpose(1, 2, 0)).save(folder.images / split / f"{index:03d}.png")
                writer.writerow([f"{split}/{index:03d}.png", label])
    info = DatasetInfo(
        name="small",
        origin="custom",
        class_names=tuple(f"class_{label}" for label in range(num_classes)),
        superclass_names=(),
        class_to_superclass=(),
        num_train=num_train,
        num_test=num_test,
        sha256={},
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
    )
    write_info(info, folder.info_file)
    return info
