"""Prepare a data folder from any source: originals, PNG images with CSV labels, packed arrays, `dataset.json`.

A file gets its name once it is complete, and `dataset.json` is written last. A killed preparation therefore leaves a
folder that does not look prepared, and the next one writes everything again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cifar100.data.description import describe_release
from cifar100.data.folder.csv_labels import MAX_CSV_BYTES
from cifar100.data.folder.custom_images import ensure_custom, prepare_custom
from cifar100.data.folder.image_files import has_all_images, labels_csv, write_images
from cifar100.data.folder.layout import (
    SPLITS,
    DataFolder,
    DatasetInfo,
    Split,
    write_info,
    write_packed,
)
from cifar100.data.sources import shapes100
from cifar100.data.sources.containers import PYTHON_FILES, read_files
from cifar100.data.sources.download import download
from cifar100.data.sources.official import parse_release, python_version, read_release
from cifar100.data.sources.release import Release, ReleaseSplit
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, write_atomically, writing_below
from cifar100.files.regular import read_bytes
from cifar100.terminal import say

_ORIGIN_OF_SOURCE = {"download": "official", "generated": "generated"}


def prepare(*, source: str, root: Path) -> DatasetInfo:
    """Fetch and verify a data set and write it below `root`; prepare custom data in place.

    Running it again is safe: a complete folder is verified and kept, an incomplete one is written again.

    Args:
        source: `download`, `generated`, or the path of a folder or archive in CIFAR-100's format.
        root: where to write; or a folder of custom data, with `train.csv` and images.

    Raises:
        UserError: the source is not usable, or `root` holds other data or cannot be written.
    """
    folder = DataFolder(root)
    if folder.is_custom():
        _refuse_source_for_custom(source, root)
        return _say(prepare_custom(root), root)
    present = _read_present(folder)
    loaded = None if source in _ORIGIN_OF_SOURCE else _load(source, folder)
    if present:
        _refuse_other_data(source, present, root, loaded[0] if loaded else None)
        if _is_complete(folder, present):
            return _say(present, root)
        say(f"{root}: some files are missing or damaged; writing them again")
    release, files = loaded or _load(source, folder)
    if not present and files != {}:
        _refuse_foreign_originals(release, folder)
    return _say(prepare_release(release, root, files=files), root)


def ensure_prepared(source: str, root: Path) -> DatasetInfo:
    """Return the facts about the data in `root`; prepare them first if necessary.

    Raises:
        UserError: `root` holds other data than `source` asks for, or `prepare` fails.
    """
    folder = DataFolder(root)
    if folder.is_custom():
        _refuse_source_for_custom(source, root)
        return ensure_custom(root)
    if not folder.is_prepared():
        return prepare(source=source, root=root)
    info = folder.info()
    if (info.origin == "generated") != (source == "generated"):
        matching = "generated" if info.origin == "generated" else "download"
        raise UserError(
            f"{root} holds {info.describe()}, but --data.source is {source}; give --data.source {matching} to use it, "
            "or another --data.root."
        )
    return info


def prepare_release(release: Release, root: Path, *, files: Mapping[str, bytes] | None = None) -> DatasetInfo:
    """Write a release as a prepared data folder.

    Args:
        release: the images, labels and names.
        root: where to write; `dataset.json` there is removed first and written last.
        files: the files of the python version from which the release was read, to be kept byte for byte. If None, they
            are built from the release.
    """
    folder = DataFolder(root)
    info = describe_release(release)
    with writing_below(root):
        folder.info_file.unlink(missing_ok=True)
        _write_originals(python_version(release) if files is None else files, folder.originals)
        for split in SPLITS:
            _write_split(getattr(release, split), info, folder, split=split)
        remove_partial_files(root)
        write_info(info, folder.info_file)
    return info


def _write_originals(files: Mapping[str, bytes], originals: Path) -> None:
    originals.mkdir(parents=True, exist_ok=True)
    remove_partial_files(originals)
    for name, content in files.items():
        write_atomically(originals / name, content)


def _write_split(content: ReleaseSplit, info: DatasetInfo, folder: DataFolder, *, split: Split) -> None:
    write_images(content, info, folder.images / split)
    write_atomically(folder.csv(split), labels_csv(content.fine_labels, info, split=split))
    write_packed(content.images, content.fine_labels, folder, split=split)


def _load(source: str, folder: DataFolder) -> tuple[Release, Mapping[str, bytes] | None]:
    """Return a release and, as for `prepare_release`, its files; no files if they are in `folder` already."""
    if source == "generated":
        return shapes100.draw(), None
    if source == "download":
        release = _read_originals(folder)
        if release is not None and describe_release(release).origin == "official":
            return release, {}
        path = download(folder.root)
    else:
        path = Path(source).expanduser()
        if DataFolder(path).is_custom():
            raise UserError(
                f"{path} holds custom data (train.csv), which are prepared in place; give that folder as the root "
                f"(prepare: --root {path}, train: --data.root {path}) and leave out the source."
            )
    files = read_files(path)
    release = parse_release(files, path)
    if "meta" not in files:
        return release, None
    return release, {} if path == folder.originals else files


def _read_originals(folder: DataFolder) -> Release | None:
    """Return the release in the folder of original files, or None if it is missing or damaged."""
    try:
        return read_release(folder.originals) if folder.originals.is_dir() else None
    except UserError:
        return None


def _read_present(folder: DataFolder) -> DatasetInfo | None:
    """Return the facts about the prepared data, or None if they are missing or damaged."""
    try:
        return folder.info() if folder.is_prepared() else None
    except UserError:
        return None


def _is_complete(folder: DataFolder, info: DatasetInfo) -> bool:
    """Return whether a prepared folder is complete and intact; PNG files are checked but not decoded."""
    if not all((folder.originals / name).is_file() for name in PYTHON_FILES):
        return False
    for split in SPLITS:
        try:
            images, labels = folder.load(split)
            csv = read_bytes(folder.csv(split), limit=MAX_CSV_BYTES)
        except (UserError, OSError):
            return False
        coarse_labels = np.array(info.class_to_superclass)[labels]
        packed = ReleaseSplit(images=images, fine_labels=labels, coarse_labels=coarse_labels)
        if packed.sha256() != info.sha256[split] or csv != labels_csv(labels, info, split=split):
            return False
        if not has_all_images(labels, info, folder.images / split):
            return False
    return True


def _refuse_other_data(source: str, present: DatasetInfo, root: Path, release: Release | None) -> None:
    if release is not None:
        asked = describe_release(release)
        same, name = present == asked, f"{asked.describe()} ({source})"
    else:
        same = present.origin == _ORIGIN_OF_SOURCE[source]
        name = "CIFAR-100, official" if source == "download" else "Shapes-100, generated"
    if not same:
        raise UserError(f"{root} holds {present.describe()}, not {name}; choose another --root.")


def _refuse_foreign_originals(release: Release, folder: DataFolder) -> None:
    """Refuse to overwrite files of another release, of which the user may have no copy."""
    originals = _read_originals(folder)
    if originals is None:
        return
    found, asked = describe_release(originals), describe_release(release)
    if found != asked:
        raise UserError(
            f"{folder.originals} holds {found.describe()}, not {asked.describe()}; move that folder away or choose "
            "another root."
        )


def _refuse_source_for_custom(source: str, root: Path) -> None:
    if source != "download" and Path(source).expanduser().resolve() != root.resolve():
        raise UserError(
            f"{root} holds custom data (train.csv), but the source is {source}; to use the custom data, leave out "
            "--source (prepare) or give --data.source download (train: the recipe may name another source); or choose "
            "another root."
        )


def _say(info: DatasetInfo, root: Path) -> DatasetInfo:
    say(f"{root}: {info.describe()}")
    say(f"  {info.num_train:,} training images, {info.num_test:,} test images")
    return info
