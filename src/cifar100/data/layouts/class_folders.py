"""Images in class folders: `train/cat/1.jpg`, with `val` and `test` beside `train`, or `cat/1.jpg`."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Literal, NamedTuple

from cifar100.data.layouts.files_below import IMAGE_SUFFIXES, find_files, holds_image, is_folder, visible
from cifar100.errors import UserError
from cifar100.foreign_text import printable

Part = Literal["train", "validation", "test"]

PARTS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of a split's folder or file, in lower case."""

_LIKE_A_SPLIT = re.compile(
    r"(train|training|test|testing|val|valid|validation)[ _-]?(images?|imgs?|pictures|photos|set|data)"
    r"|(seg|images?|imgs?|pictures|photos|data)[ _-]?(train|training|test|testing|val|valid|validation)"
)

OURS = ("packed", "cifar100_images", "cifar-100-python", "cifar-100-binary", "cifar-100-python.tar.gz")
"""Names in a data folder that are no class folders. All but the first show that it holds other data."""


class ClassImage(NamedTuple):
    """An image in a class folder."""

    file: str
    """Relative to the root, with forward slashes."""
    class_name: str


class ClassFolders(NamedTuple):
    """The images of each split, by class and file in natural order, and what was left out."""

    images: dict[Part, list[ClassImage]]
    ignored: list[str]
    """Files that are no images, and folders of images without labels, relative to the root."""


def has_class_folders(root: Path) -> bool:
    """Return whether folders of images are in `root`, or in its folder `train`. Looks at a few files only."""
    try:
        entries = visible(root)
    except UserError:
        return False
    if {entry.name for entry in entries} & set(OURS[1:]):
        return False
    folders = [entry.name for entry in entries if is_folder(entry) and entry.name != OURS[0]]
    train = [name for name in folders if PARTS.get(name.lower()) == "train"]
    if not train:
        return any(holds_image(root / name) for name in folders)
    try:
        return any(is_folder(entry) and holds_image(Path(entry.path)) for entry in visible(root / train[0]))
    except UserError:
        return False


def find_class_folders(root: Path) -> ClassFolders:
    """Return the images of a folder for which `has_class_folders`. An image of a nested folder is of the outer class.

    Raises:
        UserError: images lie outside of class folders, a folder holds none, or a split has two folders.
    """
    folders = _split_folders(root)
    images: dict[Part, list[ClassImage]] = {}
    ignored: list[str] = []
    for part, name in folders.items():
        found = _find_classes(root, name, part)
        images |= {part: found.images[part]} if found.images[part] else {}
        ignored += found.ignored
    return ClassFolders(images, ignored)


def _split_folders(root: Path) -> dict[Part, str]:
    """Return the folder of each split, relative to the root; only the root if it has no folder `train`."""
    names: dict[Part, str] = {}
    for entry in visible(root):
        part = PARTS.get(entry.name.lower())
        if part is None or not is_folder(entry):
            continue
        if part in names:
            raise UserError(f"{root} holds the folders {names[part]} and {entry.name} of one split; merge them.")
        names[part] = entry.name
    if not names:
        similar = [
            entry.name for entry in visible(root) if is_folder(entry) and _LIKE_A_SPLIT.fullmatch(entry.name.lower())
        ]
        if similar:
            raise UserError(
                f"{root} holds the folder {_few(similar)}, which looks like a split and not like a class; rename the "
                "folders of splits to train, val and test, or list the images in a train.csv."
            )
        return {"train": ""}
    if "train" not in names:
        raise UserError(
            f"{root} holds a folder {' and '.join(names.values())}, but no folder train; add the training images as "
            f"{root / 'train'}/CLASS/IMAGE."
        )
    others = [entry.name for entry in visible(root) if is_folder(entry) and entry.name not in {*names.values(), *OURS}]
    if mixed := [name for name in others if holds_image(root / name)]:
        raise UserError(
            f"{root} holds folders of images ({_few(mixed)}) beside {', '.join(names.values())}: it is unclear "
            "whether these are classes; move them into train, or away."
        )
    return {part: names[part] for part in ("train", "validation", "test") if part in names}


def _find_classes(root: Path, name: str, part: Part) -> ClassFolders:
    """Return the images of one split, whose class folders are in the folder `name`."""
    folder = root / name
    prefix = f"{name}/" if name else ""
    images: list[ClassImage] = []
    ignored: list[str] = []
    loose: list[str] = []
    empty: list[str] = []
    for entry in visible(folder):
        if not is_folder(entry):
            is_image = Path(entry.name).suffix.lower() in IMAGE_SUFFIXES
            (loose if is_image else ignored).append(prefix + entry.name)
        elif not name and entry.name == OURS[0]:
            if holds_image(folder / entry.name):
                raise UserError(f"{folder / entry.name} holds images, but that folder is for arrays; rename it.")
        else:
            found = find_files(folder / entry.name)
            ignored += [f"{prefix}{entry.name}/{file}" for file in found.others]
            class_name = unicodedata.normalize("NFC", entry.name)
            images += [ClassImage(f"{prefix}{entry.name}/{file}", class_name) for file in found.images]
            if not found.images:
                empty.append(prefix + entry.name)
    if loose and part != "train" and not images:  # a contest's test images
        return ClassFolders({part: []}, [f"{name}: {len(loose):,} images without class folders", *ignored])
    if loose:
        raise UserError(
            f"{root} holds images in class folders and others beside them ({_few(loose)}); move each into a class "
            "folder, or away."
        )
    if empty:
        raise UserError(
            f"{root} holds folders without images ({_few(empty)}) among class folders; fill or remove them, or pass "
            "another folder."
        )
    ours = {"dataset.json", "source.json", "skipped_images.csv"}
    return ClassFolders({part: images}, [file for file in ignored if name or file not in ours])


def _few(names: list[str]) -> str:
    return printable(", ".join(names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
