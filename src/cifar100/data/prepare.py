"""Prepare a data folder from any source: images with labels, packed arrays, `dataset.json`; of a release, originals.

A file gets its name once it is complete, and `dataset.json` is written after all others. A killed preparation therefore
leaves a folder that does not look prepared, and the next one writes everything again. One process at a time writes into
a data folder; those that find it complete only read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cifar100.data.dataset_info import IMAGE_SIDE, DatasetInfo
from cifar100.data.folder.changes import Changes, find_changes
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.ownership import check_kinds, check_ours, remove_leftovers, writing_alone
from cifar100.data.folder.record import begin_record, write_record
from cifar100.data.layouts.importing import container, import_images, remove_import
from cifar100.data.layouts.reading import read_listing, read_skipped
from cifar100.data.layouts.recognition import Found, held_containers, is_imported
from cifar100.data.preparation.custom_source import check_source, find_custom
from cifar100.data.preparation.mistyped import announce_creation
from cifar100.data.preparation.official_copies import read_official
from cifar100.data.preparation.releases import (
    NAME_OF_SOURCE,
    ORIGIN_OF_SOURCE,
    Loaded,
    how_to_use_edited,
    load,
    prepare_alone,
    refuse_other_data,
    restore,
)
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.terminal import say


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
    loaded: Loaded | None = None
    if official or source not in ORIGIN_OF_SOURCE:
        loaded = (official, None) if official else load(source, folder)
    present = folder.present()
    if present:
        refuse_other_data(source, present, folder, loaded)
        changes = find_changes(folder, present, thorough=True)
        if not changes:
            _renew_record(folder, changes)
            return _say(present, root)
    announce_creation(root, what=NAME_OF_SOURCE.get(source, source))
    with writing_alone(root):
        return _say(prepare_alone(source, folder, loaded), root)


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
    if trained_on.origin in ORIGIN_OF_SOURCE.values() or folder.is_custom() or folder.is_sound():
        return
    check_kinds(folder.root)
    raise UserError(
        f"{folder.describe_absence()}; the run was trained on {trained_on.describe()}; set --data.root to the folder "
        "that holds them now."
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
        raise UserError(how_to_use_edited(folder, info, changes))
    are_images_missing = any(not name.startswith(folder.originals.name) for name in changes.missing)
    if changes.derived or (needs_images and are_images_missing):
        with writing_alone(root):
            return restore(folder, info)
    _renew_record(folder, changes)
    return info


def _ensure_custom(folder: DataFolder, *, thorough: bool, skip_damaged: bool | None) -> DatasetInfo:
    """Return the facts about custom data; prepare them first if they are new or have changed.

    skip_damaged: None: damaged images are left out if some were at the last preparation.
    """
    has_skipped = bool(read_skipped(folder.root))
    skips = has_skipped if skip_damaged is None else skip_damaged

    def unchanged() -> tuple[DatasetInfo | None, Changes | None]:
        present = folder.present()
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
            f"--image-size {image_size} has no effect: {NAME_OF_SOURCE.get(source, source)} is stored with its own "
            f"{IMAGE_SIDE}x{IMAGE_SIDE} pixels; leave it out, and train with --data.image_size {image_size}."
        )
    if skip_damaged:
        raise UserError(
            f"--skip-damaged (train: --data.skip_damaged) has no effect: {NAME_OF_SOURCE.get(source, source)} is a "
            "release, whose images are verified; leave it out."
        )


def _renew_record(folder: DataFolder, changes: Changes) -> None:
    """Record new times of files whose content is the same, so that it is not read again. A read-only folder stays."""
    if changes.stamps is not None and os.access(folder.root, os.W_OK):
        with suppress(OSError):  # it only saves time
            write_record(folder.description_place, changes.stamps)


def _say(info: DatasetInfo, root: Path) -> DatasetInfo:
    say(f"{root}: {info.describe()}")
    validation = f"{info.num_validation:,} validation images, " if info.num_validation else ""
    say(f"  {info.num_train - info.num_validation:,} training images, {validation}{info.num_test:,} test images")
    return info
