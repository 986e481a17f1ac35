"""A release of a few random images in the official formats, written by code that shares nothing with the package."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from cifar100.data.sources.release import Release, ReleaseSplit

SUPERCLASSES = (1, 0, 1, 0)
"""Superclass of each class."""


def fabricate(num_train: int = 6, num_test: int = 4) -> Release:
    generator = np.random.default_rng(0)

    def split(num_images: int) -> ReleaseSplit:
        fine = generator.integers(0, len(SUPERCLASSES), num_images)
        return ReleaseSplit(
            images=generator.integers(0, 256, (num_images, 3, 32, 32), dtype=np.uint8),
            fine_labels=fine,
            coarse_labels=np.array(SUPERCLASSES)[fine],
        )

    return Release(
        train=split(num_train),
        test=split(num_test),
        class_names=("apple", "bear", "cloud", "dolphin"),
        superclass_names=("animals", "large_man-made_outdoor_things"),
    )


def python_tables(release: Release) -> dict[str, dict[bytes, object]]:
    """The content of the three pickles."""
    tables: dict[str, dict[bytes, object]] = {
        name: {
            b"filenames": [b"x.png"] * len(split.images),
            b"batch_label": b"batch 1 of 1",
            b"fine_labels": split.fine_labels.tolist(),
            b"coarse_labels": split.coarse_labels.tolist(),
            b"data": split.images.reshape(-1, 3072),
        }
        for name, split in (("train", release.train), ("test", release.test))
    }
    tables["meta"] = {
        b"fine_label_names": [name.encode() for name in release.class_names],
        b"coarse_label_names": [name.encode() for name in release.superclass_names],
    }
    return tables


def python_files(release: Release, protocol: int = 2) -> dict[str, bytes]:
    return {name: pickle.dumps(table, protocol) for name, table in python_tables(release).items()}


def binary_files(release: Release) -> dict[str, bytes]:
    def records(split: ReleaseSplit) -> bytes:
        rows = zip(split.coarse_labels, split.fine_labels, split.images, strict=True)
        return b"".join(bytes([coarse, fine]) + image.tobytes() for coarse, fine, image in rows)

    return {
        "train.bin": records(release.train),
        "test.bin": records(release.test),
        "fine_label_names.txt": "\n".join([*release.class_names, "", ""]).encode(),
        "coarse_label_names.txt": "\n".join([*release.superclass_names, ""]).encode(),
    }


def write_folder(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(files: dict[str, bytes], path: Path, *extra: tarfile.TarInfo) -> Path:
    """Files in a folder, as in the official archives, after the extra members."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for member in extra:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        folder = tarfile.TarInfo("cifar-100")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-100/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def equal(first: Release, second: Release) -> bool:
    return (
        first.class_names == second.class_names
        and first.superclass_names == second.superclass_names
        and all(
            np.array_equal(getattr(a, field), getattr(b, field))
            and getattr(a, field).dtype == getattr(b, field).dtype
            and getattr(a, field).shape == getattr(b, field).shape
            for a, b in ((first.train, second.train), (first.test, second.test))
            for field in ("images", "fine_labels", "coarse_labels")
        )
    )
