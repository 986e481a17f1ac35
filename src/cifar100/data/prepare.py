"""Prepare a data folder from any source: originals, PNG images with CSV labels, packed arrays, `dataset.json`.

A file gets its name once it is complete, and `dataset.json` is written after all others. A killed preparation therefore
leaves a folder that does not look prepared, and the next one writes everything again. One process at a time writes into
a data folder; those that find it complete only read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote

from cifar100.data.description import describe_release
from cifar100.data.folder.changes import Changes, find_changes
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.layout import IMAGE_SIDE, DataFolder, DatasetInfo
from cifar100.data.folder.ownership import check_kinds, check_ours, remove_leftovers, writing_alone
from cifar100.data.folder.record import write_record
from cifar100.data.folder.release_images import prepare_release, read_originals
from cifar100.data.mistyped import announce_creation
from cifar100.data.sources import shapes100
from cifar100.data.sources.containers import read_files
from cifar100.data.sources.download import download
from cifar100.data.sources.official import parse_release
from cifar100.data.sources.release import Release
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.terminal import say

_ORIGIN_OF_SOURCE = {"download": "official", "generated": "generated"}
_NAME_OF_SOURCE = {"download": "CIFAR-100", "generated": "Shapes-100"}


def prepare(*, source: str, root: Path, image_size: int = IMAGE_SIDE) -> DatasetInfo:
    """Fetch and verify a data set and write it below `root`; prepare custom data in place.

    Running it again is safe: a complete folder is verified and kept, an incomplete one is written again.

    Args:
        source: `download`, `generated`, or the path of a folder or archive in CIFAR-100's format.
        root: where to write; or a folder of custom data, with `train.csv` and images.
        image_size: side in pixels to which custom images are scaled.

    Raises:
        UserError: the source is not usable, or `root` holds other things or cannot be written.
    """
    root = user_path(root)
    folder = DataFolder(root, image_size)
    check_ours(root)
    remove_leftovers(root)
    if folder.image_size != image_size:
        raise UserError(
            f"--image-size {image_size} has no effect: {_NAME_OF_SOURCE.get(source, source)} is stored with its own "
            f"{IMAGE_SIDE}x{IMAGE_SIDE} pixels; leave it out, and train with --data.image_size {image_size}."
        )
    if folder.is_custom():
        _refuse_source_for_custom(source, root)
        return _say(_ensure_custom(folder, thorough=True), root)
    loaded = None if source in _ORIGIN_OF_SOURCE else _load(source, folder)
    present = _read_present(folder)
    if present:
        _refuse_other_data(source, present, root, loaded[0] if loaded else None)
        changes = find_changes(folder, present, thorough=True)
        if not changes:
            _renew_record(folder, changes)
            return _say(present, root)
    announce_creation(root, what=_NAME_OF_SOURCE.get(source, source))
    with writing_alone(root):
        return _say(_prepare_alone(source, folder, loaded), root)


def ensure_prepared(source: str, root: Path, *, needs_images: bool = True, image_size: int = IMAGE_SIDE) -> DatasetInfo:
    """Return the facts about the data in `root`; prepare them first if they are new or have changed.

    needs_images: whether the image files of a release are read; if not, they may be missing.
    image_size: side in pixels to which custom images are scaled.

    Raises:
        UserError: `root` holds other data than `source` asks for, `prepare` fails, or files of a release were edited.
    """
    root = user_path(root)
    folder = DataFolder(root)
    check_ours(root)
    if folder.is_custom():
        if source not in _ORIGIN_OF_SOURCE:  # these two may come from the recipe; the root was given for this run
            _refuse_source_for_custom(source, root)
        return ensure_unchanged(root, image_size=image_size)
    if not folder.is_sound():
        return prepare(source=source, root=root)
    info = folder.info()
    if (info.origin == "generated") != (source == "generated"):
        matching = "generated" if info.origin == "generated" else "download"
        raise UserError(
            f"{root} holds {info.describe()}, but --data.source is {source}; give --data.source {matching} to use it, "
            "or another --data.root."
        )
    return ensure_unchanged(root, needs_images=needs_images, needs_test=False)


def refuse_moved(root: Path, trained_on: DatasetInfo) -> None:
    """Refuse a folder without data if those of a run can only come from where they are now.

    trained_on: the data of the run. Official and generated data can be prepared again.

    Raises:
        UserError: asks for the folder that holds the data.
    """
    folder = DataFolder(user_path(root))
    if trained_on.origin in _ORIGIN_OF_SOURCE.values() or folder.is_custom() or folder.is_sound():
        return
    check_kinds(folder.root)
    raise UserError(
        f"{folder.root.absolute()} holds no prepared data; the run was trained on {trained_on.describe()}; give the "
        "folder that holds them now with --data.root."
    )


def ensure_unchanged(
    root: Path, *, needs_images: bool = False, needs_test: bool = True, image_size: int = IMAGE_SIDE
) -> DatasetInfo:
    """Return the facts about the prepared data in `root`, after a check that its files still are what was prepared.

    Custom data that have changed are prepared again. So are the packed arrays of a release. A folder in which nothing
    has changed is only read.

    needs_images: whether the image files of a release must be there.
    needs_test: whether its test split must.
    image_size: side in pixels to which custom images are scaled.

    Raises:
        UserError: the images, labels or originals of a release were edited; or preparation fails.
    """
    folder = DataFolder(root, image_size)
    check_ours(root)
    remove_leftovers(root)
    if folder.is_custom():
        return _ensure_custom(folder, thorough=False)
    info = folder.info()
    changes = find_changes(folder, info, needs_test=needs_test)
    if changes.edited:
        raise UserError(_how_to_use_edited(folder, info, changes))
    are_images_missing = any(not name.startswith(folder.originals.name) for name in changes.missing)
    if changes.derived or (needs_images and are_images_missing):
        with writing_alone(root):
            return _restore(folder, info)
    _renew_record(folder, changes)
    return info


def _prepare_alone(
    source: str, folder: DataFolder, loaded: tuple[Release, Mapping[str, bytes] | None] | None
) -> DatasetInfo:
    """Prepare a release, unless another process has finished it meanwhile."""
    present = _read_present(folder)
    if present:
        _refuse_other_data(source, present, folder.root, loaded[0] if loaded else None)
        changes = find_changes(folder, present, thorough=True)
        if not changes:
            return present
        say(f"{folder.root}: {changes.describe()}; writing everything again")
    return _write(loaded or _load(source, folder), folder)


def _restore(folder: DataFolder, present: DatasetInfo) -> DatasetInfo:
    """Write a release again, from its originals if they are intact; nothing if another process has done it."""
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
            f"{folder.originals} is missing or damaged as well; prepare the data from where they came: "
            f"cifar100 prepare --source PATH --root {quote(str(folder.root))}"
        )
    return _write(_load(source, folder), folder)


def _write(loaded: tuple[Release, Mapping[str, bytes] | None], folder: DataFolder) -> DatasetInfo:
    release, files = loaded
    if files != {}:
        _refuse_foreign_originals(release, folder)
    return prepare_release(release, folder.root, files=files)


def _ensure_custom(folder: DataFolder, *, thorough: bool) -> DatasetInfo:
    """Return the facts about custom data; prepare them first if they are new or have changed."""
    present = _read_present(folder)
    changes = find_changes(folder, present, thorough=thorough) if present else None
    if present and changes is not None and not changes:
        _renew_record(folder, changes)
        return present
    with writing_alone(folder.root):
        present = _read_present(folder)  # another process may have finished it meanwhile
        changes = find_changes(folder, present, thorough=thorough) if present else None
        if present and changes is not None and not changes:
            return present
        if changes:
            say(f"{folder.root}: {changes.describe()} since preparation; preparing the data again")
        return prepare_custom(folder.root, image_size=folder.image_size)


def _renew_record(folder: DataFolder, changes: Changes) -> None:
    """Record new times of files whose content is the same, so that it is not read again. A read-only folder stays."""
    if changes.stamps is not None and os.access(folder.root, os.W_OK):
        with suppress(OSError):  # it only saves time
            write_record(folder.description_place, changes.stamps)


def _how_to_use_edited(folder: DataFolder, info: DatasetInfo, changes: Changes) -> str:
    are_images, are_originals = (
        any(name.startswith(f"{place.name}/") for name in changes.edited) for place in (folder.images, folder.originals)
    )
    undo = folder.how_to_prepare(info)
    if are_originals and info.origin == "altered":
        undo = f"cifar100 prepare --source PATH --root {quote(str(folder.root))}, where PATH is what they came from"
    use = f"; to use the changed images and labels, give {folder.images} as the data folder (--data.root)"
    found = f"{folder.root}: {changes.describe()} since preparation"
    return f"{found}; to undo the change, run: {undo}{use if are_images else ''}"


def _load(source: str, folder: DataFolder) -> tuple[Release, Mapping[str, bytes] | None]:
    """Return a release and, as for `prepare_release`, its files; no files if they are in `folder` already."""
    if source == "generated":
        return shapes100.draw(), None
    if source == "download":
        release = read_originals(folder)
        if release is not None and describe_release(release).origin == "official":
            return release, {}
        path = download(folder.root)
    else:
        path = user_path(source)
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


def _read_present(folder: DataFolder) -> DatasetInfo | None:
    """Return the facts about the prepared data; None if they are missing, damaged or were of another kind."""
    try:
        info = folder.info() if folder.is_prepared() else None
    except UserError:
        return None
    return None if info and folder.is_custom() and info.origin != "custom" else info


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
    originals = read_originals(folder)
    if originals is None:
        return
    found, asked = describe_release(originals), describe_release(release)
    if found != asked:
        raise UserError(
            f"{folder.originals} holds {found.describe()}, not {asked.describe()}; move that folder away or choose "
            "another root."
        )


def _refuse_source_for_custom(source: str, root: Path) -> None:
    if source != "download" and user_path(source).resolve() != root.resolve():
        raise UserError(
            f"{root} holds custom data (train.csv), but the source is {source}; to use the custom data, leave out "
            "--source (prepare) or --data.source (train); or choose another root."
        )


def _say(info: DatasetInfo, root: Path) -> DatasetInfo:
    say(f"{root}: {info.describe()}")
    validation = f"{info.num_validation:,} validation images, " if info.num_validation else ""
    say(f"  {info.num_train - info.num_validation:,} training images, {validation}{info.num_test:,} test images")
    return info
