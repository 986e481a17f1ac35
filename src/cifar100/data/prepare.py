"""From a release to a prepared data folder: originals, PNG images with CSV labels, packed arrays, `dataset.json`.

Every file gets its name when it is complete, and `dataset.json` comes last. So a preparation that was killed leaves a
folder that does not look prepared, and the next one writes everything again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from cifar100.atomic_files import remove_partial_files, write_atomically, writing_below
from cifar100.data.folder.custom_images import ensure_custom, prepare_custom
from cifar100.data.folder.image_files import has_all_images, labels_csv, write_images
from cifar100.data.folder.layout import (
    SPLITS,
    DataFolder,
    DatasetInfo,
    Split,
    channel_statistics,
    write_info,
    write_packed,
)
from cifar100.data.sources import shapes100
from cifar100.data.sources.containers import PYTHON_FILES, read_files
from cifar100.data.sources.official import download, read_release, write_python_version
from cifar100.data.sources.release import Release, ReleaseSplit
from cifar100.errors import UserError
from cifar100.taxonomy import FINE_NAMES, FINE_TO_SUPERCLASS, SUPERCLASS_NAMES

OFFICIAL_SHA256 = {
    "train": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
    "test": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
}
"""Of `train.bin` and `test.bin` of the official binary version."""

_ORIGIN_OF_SOURCE = {"download": "official", "generated": "generated"}


def prepare(*, source: str, root: Path) -> DatasetInfo:
    """Fetch, verify and write everything below `root`; a user's own data there are prepared in place.

    Running it again is safe: a complete folder is checked and left alone, an incomplete one is written again.

    Args:
        source: `download`, `generated`, or the path of a folder or archive in CIFAR-100's format.
        root: where to write; or a folder with a user's own `train.csv` and images.

    Raises:
        UserError: the source is not usable, `root` holds other data already, or cannot be written.
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
        print(f"{root} lacks some of its files, or they are damaged; writing them again")
    release, path = loaded or _load(source, folder)
    if not present and path != folder.originals:
        _refuse_foreign_originals(release, folder)
    return _say(prepare_release(release, root, originals=path), root)


def ensure_prepared(source: str, root: Path) -> DatasetInfo:
    """Return the facts about the data in `root`, after preparing them if need be.

    Raises:
        UserError: `root` holds other data than `source` asks for, or as `prepare`.
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
            f"{root} holds {info.describe()}, but --data.source is {source}; give --data.source {matching} for what is "
            "there, or another --data.root."
        )
    return info


def prepare_release(release: Release, root: Path, *, originals: Path | None = None) -> DatasetInfo:
    """Write a release as a prepared data folder.

    Args:
        release: the images, labels and names.
        root: where to write; `dataset.json` there is removed first and written last.
        originals: folder or archive that the release was read from. The files of a python version are kept as they
            are; otherwise they are written from the release.
    """
    folder = DataFolder(root)
    info = describe_release(release)
    with writing_below(root):
        folder.info_file.unlink(missing_ok=True)
        _write_originals(release, folder, originals)
        for split in SPLITS:
            _write_split(getattr(release, split), info, folder, split=split)
        remove_partial_files(root)
        write_info(info, folder.info_file)
    return info


def _write_split(content: ReleaseSplit, info: DatasetInfo, folder: DataFolder, *, split: Split) -> None:
    write_images(content, info, folder.images / split)
    write_atomically(folder.csv(split), labels_csv(content.fine_labels, info, split=split))
    write_packed(content.images, content.fine_labels, folder, split=split)


def _write_originals(release: Release, folder: DataFolder, path: Path | None) -> None:
    files = {} if path is None else read_files(path)
    if "meta" not in files:  # drawn, or a binary version
        write_python_version(release, folder.originals)
    elif path != folder.originals:
        folder.originals.mkdir(parents=True, exist_ok=True)
        remove_partial_files(folder.originals)
        for name in PYTHON_FILES:
            write_atomically(folder.originals / name, files[name])


def _load(source: str, folder: DataFolder) -> tuple[Release, Path | None]:
    """Return the release and the folder or archive that it was read from; None for one that was drawn."""
    if source == "generated":
        return shapes100.draw(), None
    if source == "download":
        release = _read_originals(folder)
        if release is not None and describe_release(release).origin == "official":
            return release, folder.originals
        path = download(folder.root)
    else:
        path = Path(source).expanduser()
        if DataFolder(path).is_custom():
            raise UserError(
                f"{path} holds a train.csv: your own data are prepared where they are; give that folder as the root "
                f"(prepare: --root {path}, train: --data.root {path}) and leave out the source."
            )
    return read_release(path), path


def _read_originals(folder: DataFolder) -> Release | None:
    """Read the original files that are in the folder already, if they are intact."""
    try:
        return read_release(folder.originals) if folder.originals.is_dir() else None
    except UserError:
        return None


def _read_present(folder: DataFolder) -> DatasetInfo | None:
    """Return the facts about the data that were prepared before; None where a preparation has to run."""
    try:
        return folder.info() if folder.is_prepared() else None
    except UserError:  # damaged
        return None


def _is_complete(folder: DataFolder, info: DatasetInfo) -> bool:
    """Whether everything that belongs to a prepared folder is there and intact; PNG files are not decoded."""
    if not all((folder.originals / name).is_file() for name in PYTHON_FILES):
        return False
    for split in SPLITS:
        try:
            images, labels = folder.load(split)
            csv = folder.csv(split).read_bytes()
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
        raise UserError(f"{root} holds {present.describe()}, not {name}; choose another --root for the latter.")


def _refuse_foreign_originals(release: Release, folder: DataFolder) -> None:
    """Keep files that we have not written: whoever put them there may have no copy."""
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
            f"{root} holds your own data (train.csv), not what the source {source} gives. To use your own data, leave "
            "out --source (prepare) or give --data.source download (train: the recipe may name another source); or "
            "choose another root."
        )


def _say(info: DatasetInfo, root: Path) -> DatasetInfo:
    print(f"{root}: {info.describe()}")
    print(f"  {info.num_train:,} training images, {info.num_test:,} test images")
    return info


def describe_release(release: Release) -> DatasetInfo:
    """Return the facts about a release; the same content gives the same facts whatever container it came in.

    Raises:
        UserError: the superclass of a class cannot be told.
    """
    sha256 = {"train": release.train.sha256(), "test": release.test.sha256()}
    origin = _origin(release, sha256)
    mean, std = channel_statistics(release.train.images)
    return DatasetInfo(
        name=shapes100.NAME if origin == "generated" else "CIFAR-100",
        origin=origin,
        class_names=release.class_names,
        superclass_names=release.superclass_names,
        class_to_superclass=_class_to_superclass(release),
        num_train=len(release.train.images),
        num_test=len(release.test.images),
        sha256=sha256,
        mean=mean,
        std=std,
    )


def _origin(release: Release, sha256: dict[str, str]) -> Literal["official", "altered", "generated"]:
    names = (release.class_names, release.superclass_names)
    if names == (shapes100.CLASS_NAMES, shapes100.SUPERCLASS_NAMES):
        return "generated"
    return "official" if sha256 == OFFICIAL_SHA256 and names == (FINE_NAMES, SUPERCLASS_NAMES) else "altered"


def _class_to_superclass(release: Release) -> tuple[int, ...]:
    """Take the superclasses from the labels; `read_release` has checked that they do not contradict each other."""
    names = (release.class_names, release.superclass_names)
    superclasses = dict(enumerate(FINE_TO_SUPERCLASS)) if names == (FINE_NAMES, SUPERCLASS_NAMES) else {}
    for split in (release.train, release.test):
        labels, first = np.unique(split.fine_labels, return_index=True)
        superclasses |= dict(zip(labels.tolist(), split.coarse_labels[first].tolist(), strict=True))
    for label, name in enumerate(release.class_names):
        if label not in superclasses:
            raise UserError(f"the release has no image of the class {name!r}; every class needs one to be learned.")
    return tuple(superclasses[label] for label in range(len(release.class_names)))
