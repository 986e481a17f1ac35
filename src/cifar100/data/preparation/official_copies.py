"""Recognise CIFAR-100 itself in parquet and .npz files, such as the Hugging Face Hub's and Keras's arrays."""

from __future__ import annotations

import numpy as np

from cifar100.data.decoding.decode import decode_image
from cifar100.data.decoding.memory import Memory
from cifar100.data.description import describe_release
from cifar100.data.folder.layout import SPLITS
from cifar100.data.layouts.contained import Container
from cifar100.data.sources.release import Release, ReleaseSplit
from cifar100.long_steps import progress
from cifar100.taxonomy import FINE_NAMES, FINE_TO_SUPERCLASS, SUPERCLASS_NAMES

NUM_IMAGES = {"train": 50_000, "test": 10_000}


def read_official(source: Container) -> Release | None:
    """Return the official release if a source holds exactly its images and labels, in its order; else None.

    Raises:
        UserError: a file of the source is damaged.
    """
    if dict(source.counts) != NUM_IMAGES:
        return None
    splits: dict[str, ReleaseSplit] = {}
    with progress("Comparing with CIFAR-100", total=sum(NUM_IMAGES.values())) as advance:
        for split in SPLITS:
            images = np.empty((NUM_IMAGES[split], 3, 32, 32), dtype=np.uint8)
            labels = np.empty(NUM_IMAGES[split], dtype=np.int64)
            for index, image in enumerate(source.images(split)):
                label = _label(image.label)
                pixels = _pixels(image.content)
                if label is None or pixels is None:
                    return None
                images[index], labels[index] = pixels.transpose(2, 0, 1), label
                advance(1)
            superclasses = np.array(FINE_TO_SUPERCLASS, dtype=np.int64)[labels]
            splits[split] = ReleaseSplit(images=images, fine_labels=labels, coarse_labels=superclasses)
    release = Release(
        train=splits["train"], test=splits["test"], class_names=FINE_NAMES, superclass_names=SUPERCLASS_NAMES
    )
    return release if describe_release(release).origin == "official" else None


def _label(text: str) -> int | None:
    if text in FINE_NAMES:
        return FINE_NAMES.index(text)
    return int(text) if text.isascii() and text.isdecimal() and int(text) < len(FINE_NAMES) else None


def _pixels(content: bytes | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray | None:
    """Return uint8 (32, 32, 3); None for an image of another shape."""
    if isinstance(content, bytes):
        try:
            content = decode_image(content, Memory(), side=32)
        except Exception:  # a damaged image makes Pillow raise almost anything
            return None
    return content if content.shape == (32, 32, 3) else None
