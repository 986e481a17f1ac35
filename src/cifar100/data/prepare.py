"""Prepare a data folder from any source: images with labels, packed arrays, `dataset.json`; of a release, originals.

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

from cifar100.data.custom_source import check_source, find_custom
from cifar100.data.description import describe_release
from cifar100.data.folder.changes import Changes, find_changes
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.layout import IMAGE_SIDE, DataFolder, DatasetInfo
from cifar100.data.folder.ownership import check_kinds, check_ours, remove_leftovers, writing_alone
from cifar100.data.folder.record import begin_record, write_record
from cifar100.data.folder.release_images import prepare_release, read_originals
from cifar100.data.layouts.importing import container, import_images, remove_import
from cifar100.data.layouts.reading import read_listing, read_skipped
from cifar100.data.layouts.recognition import Found, held_containers, is_imported
from cifar100.data.mistyped import announce_creation
from cifar100.data.official_copies import read_official
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


def prepare(*, source: str, root: Path, image_size: int = IMAGE_SIDE, skip_damaged: bool = False) -> DatasetInfo:
    """Fetch and verify a data set and write it below `root`; prepare custom data that lie in `root` in place.

    Running it again is safe: a complete folder is verified and kept, an incomplete one is written again.

    Args:
        source: `download`, `generated`, or the path of a folder or file with images in any known layout.
        root: where to write; or a folder of custom data.
        image_size: side in pixels to which custom images are scaled.
        skip_damaged: leave out custom images that cannot be read.

    Raises:
        UserError: the source is not usable, or `root` holds other things or cannot be written.
    """
    root = user_path(root)
    folder = DataFolder(root, image_size)
    check_ours(root)
    remove_leftovers(root)
    found = find_custom(source, root)
    if folder.is_custom():
        check_source(source, found, folder)
        return _say(_ensure_custom(folder, thorough=True, skip_damaged=skip_damaged), root)
    files = None if found is None else container(found)
    official = None if files is None else read_official(files)
    if found is not None and official is None:
        return _say(_import(found, folder, image_size=image_size, skip_damaged=skip_damaged), root)
    if found is None:
        _refuse_settings_of_custom(source, image_size=image_size, skip_damaged=skip_damaged)
    loaded = (official, None) if official else None if source in _ORIGIN_OF_SOURCE else _load(source, folder)
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


def ensure_prepared(
    source: str,
    root: Path,
    *,
    needs_images: bool = True,
    image_size: int = IMAGE_SIDE,
    skip_damaged: bool = False,
) -> DatasetInfo:
    """Return the facts about the data in `root`; prepare them first if they are new or have changed.

    needs_images: whether the image files of a release are read; if not, they may be missing.
    image_size: side in pixels to which custom images are scaled.
    skip_damaged: see `prepare`.

    Raises:
        UserError: `root` holds other data than `source` asks for, `prepare` fails, or files of a release were edited.
    """
    root = user_path(root)
    folder = DataFolder(root, image_size)
    check_ours(root)
    remove_leftovers(root)
    if source == "generated" and (folder.is_custom() or held_containers(root)):
        source = "download"  # the source may come from the recipe, but the root was given for this run
    found = find_custom(source, root)
    if folder.is_custom():
        check_source(source, found, folder)
        return _ensure_custom(folder, thorough=False, skip_damaged=skip_damaged)
    if not folder.is_sound():
        side = IMAGE_SIDE if found is None else image_size  # that of a release is applied when it is loaded
        return prepare(source=source, root=root, image_size=side, skip_damaged=skip_damaged)
    info = folder.info()
    if (info.origin == "generated") != (source == "generated"):
        matching = "generated" if info.origin == "generated" else "download"
        raise UserError(
            f"{root} holds {info.describe()}, but --data.source is {source}; set --data.source {matching} to use it, "
            "or another --data.root."
        )
    if found is not None and (found.kind in ("table", "class folders") or info.origin != "official"):
        raise UserError(f"{root} holds {info.describe()}, not the images of {source}; choose another --data.root.")
    if skip_damaged:
        raise UserError(f"--data.skip_damaged has no effect: {root} holds {info.describe()}; leave it out.")
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
        f"{folder.root.absolute()} holds no prepared data; the run was trained on {trained_on.describe()}; set "
        "--data.root to the folder that holds them now."
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
        return _ensure_custom(folder, thorough=False, skip_damaged=None)
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
            f"{folder.originals} is missing or damaged as well; prepare the data from their source again: "
            f"cifar100 prepare --source PATH --root {quote(str(folder.root))}"
        )
    return _write(_load(source, folder), folder)


def _write(loaded: tuple[Release, Mapping[str, bytes] | None], folder: DataFolder) -> DatasetInfo:
    release, files = loaded
    if files != {}:
        _refuse_foreign_originals(release, folder)
    return prepare_release(release, folder.root, files=files)


def _ensure_custom(folder: DataFolder, *, thorough: bool, skip_damaged: bool | None) -> DatasetInfo:
    """Return the facts about custom data; prepare them first if they are new or have changed.

    skip_damaged: None: damaged images are left out if some were at the last preparation.
    """
    has_skipped = bool(read_skipped(folder.root))
    skips = has_skipped if skip_damaged is None else skip_damaged

    def unchanged() -> tuple[DatasetInfo | None, Changes | None]:
        present = _read_present(folder)
        changes = find_changes(folder, present, thorough=thorough) if present else None
        return (present if changes is not None and not changes and not (has_skipped and not skips) else None), changes

    present, changes = unchanged()
    if present and changes is not None:
        _renew_record(folder, changes)
        return present
    if changes is None:
        read_listing(folder, with_skipped=True)  # refuses what is wrong before anything is written
    with writing_alone(folder.root):
        present, changes = unchanged()  # another process may have finished it meanwhile
        if present:
            return present
        if changes:
            say(f"{folder.root}: {changes.describe()} since preparation; preparing the data again")
        return prepare_custom(folder.root, image_size=folder.image_size, skip_damaged=skips)


def _import(found: Found, folder: DataFolder, *, image_size: int, skip_damaged: bool) -> DatasetInfo:
    """Copy the images of another place, or out of files, into `folder` and prepare them; or leave nothing of them."""
    root = folder.root
    if folder.is_sound():
        present = folder.info().describe()
        raise UserError(f"{root} holds {present}, not the images of {found.path}; choose another --root.")
    with writing_alone(root):
        if not is_imported(root):  # another process may have finished it meanwhile
            begin_record(root)
            import_images(found, root)
            try:
                return prepare_custom(root, image_size=image_size, skip_damaged=skip_damaged)
            except UserError:
                remove_import(root)
                raise
    return _ensure_custom(folder, thorough=False, skip_damaged=skip_damaged)


def _refuse_settings_of_custom(source: str, *, image_size: int, skip_damaged: bool) -> None:
    if image_size != IMAGE_SIDE:
        raise UserError(
            f"--image-size {image_size} has no effect: {_NAME_OF_SOURCE.get(source, source)} is stored with its own "
            f"{IMAGE_SIDE}x{IMAGE_SIDE} pixels; leave it out, and train with --data.image_size {image_size}."
        )
    if skip_damaged:
        raise UserError(
            f"--skip-damaged (train: --data.skip_damaged) has no effect: {_NAME_OF_SOURCE.get(source, source)} is a "
            "release, whose images are verified; leave it out."
        )


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
        undo = f"cifar100 prepare --source PATH --root {quote(str(folder.root))}, where PATH is their source"
    use = f"; to use the changed images and labels, use {folder.images} as the data folder (--data.root)"
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


def _say(info: DatasetInfo, root: Path) -> DatasetInfo:
    say(f"{root}: {info.describe()}")
    validation = f"{info.num_validation:,} validation images, " if info.num_validation else ""
    say(f"  {info.num_train - info.num_validation:,} training images, {validation}{info.num_test:,} test images")
    return info
