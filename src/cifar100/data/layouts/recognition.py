"""Recognise the layout of labelled images in a folder or a file, and say what is there if none is recognised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cifar100.data.layouts.class_folders import PARTS, has_class_folders
from cifar100.data.layouts.contained import container_files
from cifar100.data.layouts.files_below import IMAGE_SUFFIXES, holds_image, is_folder, visible
from cifar100.data.layouts.tables import TABLES, has_table, train_table
from cifar100.data.sources.containers import find_release
from cifar100.errors import UserError
from cifar100.foreign_text import printable

Kind = Literal["release", "table", "class folders", "parquet", "npz"]

CUSTOM_IMAGES = "cifar100_images"
"""Folder of the images in a data folder whose source was elsewhere."""

ORIGIN_FILE = "source.json"
"""In `CUSTOM_IMAGES`: where imported images came from."""

EXPECTED = (
    "expected class folders (train/cat/1.jpg or cat/1.jpg), a train.csv with the columns file and label beside its "
    "images, parquet or .npz files, or CIFAR-100's folder or archive"
)


@dataclass(frozen=True)
class Found:
    """A layout, and where it is."""

    kind: Kind
    path: Path
    """The folder or file."""


def recognise(path: Path) -> Found:
    """Return the layout of a folder or a file.

    Raises:
        UserError: there are several or none; the message says what is there.
    """
    if not path.is_dir():
        return _recognise_file(path)
    if is_imported(path):
        return Found("table", path / CUSTOM_IMAGES)
    if find_release(path) is not None:
        return Found("release", path)
    if has_table(path):
        return Found("table", path)
    kinds = _kinds(path)
    if len(kinds) > 1:
        raise UserError(
            f"{path} holds {' and '.join(_SHOWN[kind] for kind in kinds)}: it is unclear which to use; pass a "
            "folder with one of them."
        )
    folders = [Path(entry.path) for entry in visible(path) if is_folder(entry)]
    is_too_high = kinds == ["class folders"] and len(folders) == 1 and PARTS.get(folders[0].name.lower()) is None
    if not kinds or (is_too_high and (has_table(folders[0]) or _kinds(folders[0]))):
        raise UserError(describe_unknown(path))
    return Found(kinds[0], path)


def is_imported(root: Path) -> bool:
    """Return whether a data folder holds custom images that were copied from a source elsewhere."""
    return (root / CUSTOM_IMAGES / ORIGIN_FILE).is_file()


def held_containers(root: Path) -> list[Path]:
    """Return the parquet and .npz files in a folder that holds no release and no table; they are prepared in place."""
    if not root.is_dir() or has_table(root) or is_imported(root) or find_release(root) is not None:
        return []
    return [*container_files(root, ".parquet"), *container_files(root, ".npz")]


def describe_unknown(root: Path) -> str:
    """Return a message about a folder in which no layout is recognised."""
    entries = visible(root)
    names = [entry.name for entry in entries]
    folders = [Path(entry.path) for entry in entries if is_folder(entry)]
    tables = [name for name in names if Path(name).suffix.lower() in (".csv", ".tsv")]
    if tables:
        return (
            f"{root} holds {_few(tables)}, but no train.csv; rename the table of the training images to train.csv, "
            "with the columns file and label, or choose another folder."
        )
    if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        return (
            f"{root} holds images, but no labels; move them into a folder for each class (cat/1.jpg), or write a "
            "train.csv with the columns file and label."
        )
    train = next((path for path in folders if PARTS.get(path.name.lower()) == "train" and holds_image(path)), None)
    if train is not None:
        return (
            f"{train} holds images, but no labels; move them into a folder for each class ({train.name}/cat/1.jpg), or "
            f"write {root / 'train.csv'} with the columns file and label."
        )
    for folder in folders:
        if has_table(folder) or (len(folders) == 1 and _kinds(folder)):
            return f"{root} holds no labelled images itself, but {folder} does; pass that folder."
    shown = f"holds no data set ({_few(names)})" if names else "holds no images"
    return f"{root} {shown}; {EXPECTED}."


def _recognise_file(path: Path) -> Found:
    suffix = path.suffix.lower()
    if not path.is_file():
        found = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise UserError(f"{path} {found}; {EXPECTED}.")
    if suffix == ".parquet":
        return Found("parquet", path)
    if suffix == ".npz":
        return Found("npz", path)
    if suffix in (".csv", ".tsv"):
        if path.name != train_table(path.parent):
            names = ", ".join(name for name in TABLES if name.startswith(("train", "labels")))
            raise UserError(f"{path} is a table; pass its folder, and name the table of the training images {names}.")
        return Found("table", path.parent)
    return Found("release", path)  # whose reader explains what else it is


def _kinds(path: Path) -> list[Kind]:
    kinds: list[Kind] = []
    if has_class_folders(path):
        kinds.append("class folders")
    if container_files(path, ".parquet"):
        kinds.append("parquet")
    if container_files(path, ".npz"):
        kinds.append("npz")
    return kinds


_SHOWN = {"class folders": "folders of images", "parquet": "parquet files", "npz": ".npz files"}


def _few(names: list[str]) -> str:
    return printable(", ".join(names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
