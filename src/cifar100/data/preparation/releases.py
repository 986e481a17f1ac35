"""Write a release into a data folder: load it, refuse to replace another, and restore one that was damaged."""

from __future__ import annotations

from collections.abc import Mapping

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.description import describe_release
from cifar100.data.folder.changes import Changes, find_changes
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.release_images import prepare_release, read_originals
from cifar100.data.sources import shapes100
from cifar100.data.sources.containers import read_files
from cifar100.data.sources.download import download
from cifar100.data.sources.official import parse_release
from cifar100.data.sources.release import Release
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument, user_path
from cifar100.terminal import say

ORIGIN_OF_SOURCE = {"download": "official", "generated": "generated"}
NAME_OF_SOURCE = {"download": "CIFAR-100", "generated": "Shapes-100"}

Loaded = tuple[Release, Mapping[str, bytes] | None]
"""A release and, as for `prepare_release`, its files; no files if they are in the data folder already."""


def load(source: str, folder: DataFolder) -> Loaded:
    """Generate, download or read a release.

    Raises:
        UserError: the source is not usable.
    """
    if source == "generated":
        return shapes100.draw(), None
    if source == "download":
        release = read_originals(folder)
        if release is not None and describe_release(release).origin == "official":
            return release, {}
        path = download(folder.root)
    else:
        path = user_path(source)
    files = read_files(path)
    release = parse_release(files, path)
    if "meta" not in files:
        return release, None
    return release, {} if path == folder.originals else files


def refuse_other_data(source: str, present: DatasetInfo, folder: DataFolder, loaded: Loaded | None) -> None:
    """Refuse to replace a prepared data set by another one.

    Raises:
        UserError: the folder holds another than `source` asks for.
    """
    if loaded is not None:
        asked = describe_release(loaded[0])
        same, name = present == asked, f"{asked.describe()} ({source})"
    else:
        same = present.origin == ORIGIN_OF_SOURCE[source]
        name = "CIFAR-100, official" if source == "download" else "Shapes-100, generated"
    if not same:
        raise UserError(f"{folder.root} holds {present.describe()}, not {name}; choose another --root.")


def _refuse_foreign_originals(release: Release, folder: DataFolder) -> None:
    """Refuse to overwrite files of another release, of which the user may have no copy."""
    originals = read_originals(folder)
    if originals is None:
        return
    found, asked = describe_release(originals), describe_release(release)
    if found != asked:
        raise UserError(
            f"{folder.originals} holds {found.describe()}, not {asked.describe()}; move that folder away or choose "
            "another root."
        )


def prepare_alone(source: str, folder: DataFolder, loaded: Loaded | None) -> DatasetInfo:
    """Prepare a release, unless another process has finished it meanwhile. No other process writes.

    Args:
        source: as for `prepare`.
        folder: where to write.
        loaded: the release, if it is loaded already.

    Raises:
        UserError: the folder holds another release, or the source is not usable.
    """
    present = folder.present()
    if present:
        refuse_other_data(source, present, folder, loaded)
        changes = find_changes(folder, present, thorough=True)
        if not changes:
            return present
        say(f"{folder.root}: {changes.describe()}; writing everything again")
    return _write(loaded or load(source, folder), folder)


def restore(folder: DataFolder, present: DatasetInfo) -> DatasetInfo:
    """Write a release again, from its originals if they are intact; nothing if another process has done it.

    Raises:
        UserError: there is nothing to write it from.
    """
    changes = find_changes(folder, present) if folder.is_prepared() else None
    if changes is not None and not changes.derived and not changes.missing:
        return present
    say(f"{folder.root}: {changes.describe() if changes else 'not complete'}; writing everything again")
    originals = read_originals(folder)
    if originals is not None and describe_release(originals).sha256 == present.sha256:
        return prepare_release(originals, folder.root, files={})
    source = {"official": "download", "generated": "generated"}.get(present.origin)
    if source is None:
        raise UserError(
            f"{folder.originals} is missing or damaged as well; prepare the data from their source again: "
            f"cifar100 prepare --source PATH --root {as_argument(folder.root)}"
        )
    return _write(load(source, folder), folder)


def _write(loaded: Loaded, folder: DataFolder) -> DatasetInfo:
    release, files = loaded
    if files != {}:
        _refuse_foreign_originals(release, folder)
    return prepare_release(release, folder.root, files=files)


def how_to_use_edited(folder: DataFolder, info: DatasetInfo, changes: Changes) -> str:
    """Return the sentence for a release whose images, labels or originals were edited."""
    are_images, are_originals = (
        any(name.startswith(f"{place.name}/") for name in changes.edited) for place in (folder.images, folder.originals)
    )
    undo = folder.how_to_prepare(info)
    if are_originals and info.origin == "altered":
        undo = f"cifar100 prepare --source PATH --root {as_argument(folder.root)}, where PATH is their source"
    use = f"; to use the changed images and labels, use {folder.images} as the data folder (--data.root)"
    found = f"{folder.root}: {changes.describe()} since preparation"
    return f"{found}; to undo the change, run: {undo}{use if are_images else ''}"
