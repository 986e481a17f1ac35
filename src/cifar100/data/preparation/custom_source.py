"""Relate `data.source` to the custom images of a data folder: where they come from, and whether that is still so."""

from __future__ import annotations

import difflib
from pathlib import Path

from cifar100.data.folder.layout import DataFolder
from cifar100.data.layouts.importing import check_origin, check_own_files, read_origin
from cifar100.data.layouts.recognition import Found, held_containers, is_imported, recognise
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path

NAMED_SOURCES = ("download", "generated")

SOURCES = (
    "download (CIFAR-100), generated (Shapes-100), or the path of labelled images: class folders, a folder with a "
    "train.csv, .parquet or .npz files, or CIFAR-100's folder or archive"
)
"""What can be named as a source, for messages."""


def find_custom(source: str, root: Path) -> Found | None:
    """Return the custom images that are to be copied into `root`; None if there are none elsewhere or in files.

    Raises:
        UserError: the source has no known layout.
    """
    if source in NAMED_SOURCES:
        return recognise(root) if source == "download" and held_containers(root) else None
    path = user_path(source)
    folder = DataFolder(root)
    if not path.exists() and (folder.is_custom() or folder.is_sound()):
        return None  # what came from there is here
    if not path.exists() and not path.is_symlink():
        near = difflib.get_close_matches(source[:100], NAMED_SOURCES, n=1)
        meant = f"; did you mean {near[0]}? A" if near else "; a"
        raise UserError(f"{path} does not exist{meant} source is {SOURCES}.")
    found = recognise(path)
    is_here = found.path.resolve() == root.resolve() and found.kind in ("table", "class folders")
    return None if found.kind == "release" or is_here else found


def check_source(source: str, found: Found | None, folder: DataFolder) -> None:
    """Refuse another source for custom data than where they came from.

    found: the layout of the source, if it is one to be copied.

    Raises:
        UserError: the source is another, or has changed since.
    """
    root = folder.root
    if is_imported(root):
        if source in NAMED_SOURCES:
            check_own_files(root)
        elif found is None and str(user_path(source).resolve()) == read_origin(root).source:
            return
        if found is not None:
            check_origin(found, root)
            return
    if source == "generated" or (source != "download" and user_path(source).resolve() != root.resolve()):
        raise UserError(
            f"{root} holds custom data, but the source is {source}; to use the custom data, leave out --source "
            "(prepare) or --data.source (train); or choose another root."
        )
