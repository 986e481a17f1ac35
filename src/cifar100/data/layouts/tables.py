"""CSV tables of labelled images, with the usual names of columns, labels as names or numbers, and Kaggle's ids."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath

from cifar100.data.folder.csv_labels import records
from cifar100.data.layouts.class_folders import PARTS, Part
from cifar100.data.layouts.files_below import IMAGE_SUFFIXES
from cifar100.data.layouts.listing import Row
from cifar100.errors import UserError
from cifar100.files.regular import why_not
from cifar100.foreign_text import printable

FILE_COLUMNS = (
    *("file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path", "img"),
    *("image_id", "img_id", "id"),
)
LABEL_COLUMNS = ("fine_label", "label", "class", "target", "category")
NAME_COLUMNS = ("fine_name", "class_name", "label_name")
SUPERCLASS_COLUMNS = ("superclass_label", "coarse_label", "superclass")
SUPERCLASS_NAME_COLUMNS = ("superclass_name", "coarse_name")
"""The names of each column, in lower case; the first one that a table has is used."""

TRAIN_TABLES = ("train.csv", "train.tsv", "train_labels.csv", "labels.csv", "labels.tsv")
"""File names of the table of the training images; the first one that is there is used."""

_OTHER_TABLES = {
    f"{name}{suffix}": part for name, part in PARTS.items() for suffix in (".csv", ".tsv") if part != "train"
}
TABLES = (*TRAIN_TABLES, *_OTHER_TABLES)


def has_table(root: Path) -> bool:
    """Return whether a folder has a table of training images."""
    return train_table(root) is not None


def train_table(root: Path) -> str | None:
    """Return the name of the table of the training images; None without one."""
    return next((name for name in TRAIN_TABLES if (root / name).is_file()), None)


def find_tables(root: Path) -> dict[Part, str]:
    """Return the name of the table of each split that has one.

    Raises:
        UserError: a split has several.
    """
    train = train_table(root)
    found: dict[Part, str] = {} if train is None else {"train": train}
    for name, part in _OTHER_TABLES.items():
        if (root / name).is_file():
            if part in found:
                raise UserError(f"{root} holds {found[part]} and {name}; keep one of them.")
            found[part] = name
    return {part: found[part] for part in ("train", "validation", "test") if part in found}


def read_table(table: Path, *, images_below: Path | None = None) -> list[Row]:
    """Read and check every row of a table, and find its image files.

    Args:
        table: the CSV file.
        images_below: folder to which the files are relative; by default that of the table.

    Raises:
        UserError: the file cannot be read, has no rows or lacks a column; or a row has no label, or a file that is
            missing, listed before or outside the folder. The message names the line.
    """
    files = _ImageFiles(table.parent if images_below is None else images_below, part=table.stem)
    rows: list[Row] = []
    first_place: dict[str, str] = {}
    columns: dict[str, str] | None = None
    for place, fields in records(table, required=()):
        columns = _columns(table, list(fields)) if columns is None else columns
        row = _row(place, {role: fields[column] for role, column in columns.items()}, columns, files)
        if row.file in first_place:
            raise UserError(f"{place}: {row.file} is listed again, first at {first_place[row.file]}; list it once.")
        first_place[row.file] = place
        rows.append(row)
    if not rows:
        raise UserError(f"{table} has no rows; expected one row for each image.")
    return rows


def _columns(table: Path, header: Sequence[str]) -> dict[str, str]:
    """Return the column of each role: `file`, `label`, and of those that are optional the ones that are there."""
    by_lower = {name.lower(): name for name in reversed(header)}
    roles = {
        "file": FILE_COLUMNS,
        "label": LABEL_COLUMNS,
        "name": NAME_COLUMNS,
        "superclass": SUPERCLASS_COLUMNS,
        "superclass_name": SUPERCLASS_NAME_COLUMNS,
    }
    found = {
        role: next(by_lower[name] for name in names if name in by_lower)
        for role, names in roles.items()
        if by_lower.keys() & set(names)
    }
    for role, what in (("file", "image files"), ("label", "labels")):
        if role not in found:
            columns = printable(", ".join(header), max_length=100)
            raise UserError(
                f"{table} has no column of {what}; its first line names {columns}, expected one of "
                f"{', '.join(roles[role])}; rename the column."
            )
    return found


def _row(place: str, values: Mapping[str, str], columns: Mapping[str, str], files: _ImageFiles) -> Row:
    if not values["label"]:
        raise UserError(f"{place}: {columns['label']} is empty, expected the class; label the image or remove the row.")
    if not values["file"]:
        raise UserError(f"{place}: {columns['file']} is empty, expected an image file; name it or remove the row.")
    return Row(
        place=place,
        file=files.find(values["file"], place),
        label=values["label"],
        name=values.get("name", ""),
        superclass=values.get("superclass", ""),
        superclass_name=values.get("superclass_name", ""),
    )


class _ImageFiles:
    """Finds the image file that a table names, relative to a folder; ids may lack the extension and the folder."""

    def __init__(self, root: Path, *, part: str) -> None:
        self.root = root
        self._stems: dict[str, dict[str, list[str]]] = {}
        try:
            present = {entry.name for entry in os.scandir(root) if entry.is_dir()}
        except OSError:
            present = set()
        usual = (part, f"{part}_images", f"images/{part}", "images", "train", "train_images", "img", "data")
        self._folders = ["", *(f"{name}/" for name in dict.fromkeys(usual) if name.partition("/")[0] in present)]

    def find(self, text: str, place: str) -> str:
        """Return the file, with forward slashes and without a leading `./`.

        Raises:
            UserError: it does not exist, lies outside the folder, or an id fits several files.
        """
        name = PureWindowsPath(text)  # splits at both kinds of separators, and at drives
        if os.sep == "/" and "\\" in text and _is_file(self.root / text):
            name = PureWindowsPath(text.replace("\\", "\0"))  # a backslash in a name
        if name.anchor or ".." in name.parts or not name.parts:
            raise UserError(
                f"{place}: the image file is {printable(text)!r}, expected a path inside the folder of the CSV file."
            )
        relative = name.as_posix().replace("\0", "\\")
        for folder in self._folders:
            if _is_file(self.root / folder / relative):
                return folder + relative
        for folder in self._folders:
            parent, _, stem = f"{folder}{relative}".rpartition("/")
            matches = self._stems_in(parent).get(stem, [])
            if len(matches) > 1:
                raise UserError(
                    f"{place}: {printable(text)!r} fits {' and '.join(map(printable, matches[:3]))}; add the extension."
                )
            if matches:
                return f"{parent}/{matches[0]}" if parent else matches[0]
        found = why_not("regular file", self.root / relative) or "does not exist"
        raise UserError(f"{place}: {self.root / relative} {found}; correct or remove the row.")

    def _stems_in(self, folder: str) -> dict[str, list[str]]:
        """Return the image files in a folder by their names without extension. Each folder is read once."""
        if folder not in self._stems:
            stems = self._stems[folder] = {}
            try:
                names = sorted(os.listdir(self.root / folder))  # noqa: PTH208  # names, which no Path is needed for
            except OSError:
                names = []
            for name in names:
                stem, suffix = os.path.splitext(name)  # noqa: PTH122  # many; Path takes ten times as long
                if suffix.lower() in IMAGE_SUFFIXES:
                    stems.setdefault(stem, []).append(name)
        return self._stems[folder]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system
        return False
