"""Write a release in CIFAR-100's format as a data folder: originals, PNG images with CSV labels, packed arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import INFO, DatasetInfo, write_info
from cifar100.data.description import describe_release
from cifar100.data.folder.image_files import image_file_names, labels_csv, write_images
from cifar100.data.folder.layout import SPLITS, DataFolder, Split
from cifar100.data.folder.ownership import remove_leftovers
from cifar100.data.folder.record import begin_record, stamps_of, write_record
from cifar100.data.packed_arrays import write_packed
from cifar100.data.sources.containers import PYTHON_FILES
from cifar100.data.sources.official import python_version, read_release
from cifar100.data.sources.release import Release, ReleaseSplit
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, write_atomically, writing_below


def prepare_release(release: Release, root: Path, *, files: Mapping[str, bytes] | None = None) -> DatasetInfo:
    """Write a release as a prepared data folder.

    Args:
        release: the images, labels and names.
        root: where to write; `dataset.json` there is removed first and written after all else.
        files: the files of the python version from which the release was read, to be kept byte for byte. If None, they
            are built from the release.
    """
    folder = DataFolder(root)
    info = describe_release(release)
    with writing_below(root):
        root.mkdir(parents=True, exist_ok=True)
        begin_record(root)
        folder.info_file.unlink(missing_ok=True)
        _write_originals(python_version(release) if files is None else files, folder.originals)
        for split in SPLITS:
            _write_split(getattr(release, split), info, folder, split=split)
        remove_leftovers(root)
        write_info(info, folder.info_file)
        write_record(root, stamps_of(root, _files(release, folder, info)))
    return info


def read_originals(folder: DataFolder) -> Release | None:
    """Return the release in the folder of original files; None if it is missing or damaged."""
    try:
        return read_release(folder.originals) if folder.originals.is_dir() else None
    except UserError:
        return None


def release_csv(folder: DataFolder, split: Split) -> str:
    """Return the CSV file of a split, relative to the root."""
    return f"{folder.images.name}/{split}.csv"


def release_originals(folder: DataFolder) -> list[str]:
    """Return the files of the python version, relative to the root."""
    return [f"{folder.originals.name}/{name}" for name in PYTHON_FILES]


def release_images(folder: DataFolder, info: DatasetInfo, labels: NDArray[np.int64], *, split: Split) -> list[str]:
    """Return the image file of each label, relative to the root."""
    return [f"{folder.images.name}/{split}/{name}" for name in image_file_names(labels, info.class_names)]


def _files(release: Release, folder: DataFolder, info: DatasetInfo) -> list[str]:
    """Return every file whose later change is to be noticed, relative to the root."""
    files = [*(release_csv(folder, split) for split in SPLITS), *release_originals(folder)]
    for split in SPLITS:
        files += release_images(folder, info, getattr(release, split).fine_labels, split=split)
    return [*files, INFO]


def _write_originals(files: Mapping[str, bytes], originals: Path) -> None:
    originals.mkdir(parents=True, exist_ok=True)
    remove_partial_files(originals)
    for name, content in files.items():
        write_atomically(originals / name, content)


def _write_split(content: ReleaseSplit, info: DatasetInfo, folder: DataFolder, *, split: Split) -> None:
    write_images(content, info, folder.images / split)
    write_atomically(folder.csv(split), labels_csv(content.fine_labels, info, split=split))
    write_packed(content.images, content.fine_labels, folder, split=split)
