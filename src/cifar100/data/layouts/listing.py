"""The labelled images of custom data, in whatever layout: files, splits, and classes that are numbered from 0."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cifar100.data.layouts.class_folders import Part
from cifar100.data.layouts.files_below import natural
from cifar100.errors import UserError
from cifar100.foreign_text import printable

Split = Literal["train", "test"]
Kind = Literal["class", "superclass"]

_ALL_NAMED, _SOME_NAMED = 8, 5
"""Up to how many classes a description names all, and how many it names of more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An image with its label as it was found."""

    place: str
    """File and line, or the image file, for messages."""

    file: str
    """Relative to the folder of the images, with forward slashes."""

    label: str
    """A name or a number."""

    name: str = ""
    """Name of the class, if `label` is its number."""

    superclass: str = ""
    superclass_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Every labelled image of custom data, checked."""

    rows: Mapping[Split, Sequence[Row]]
    """The images of each split; the validation images follow the training images."""

    num_validation: int
    class_names: tuple[str, ...]
    superclass_names: tuple[str, ...]
    class_to_superclass: tuple[int, ...]
    numbers: Mapping[str, int]
    """Label as it was found -> 0 .. C - 1."""

    tables: tuple[str, ...] = ()
    """The CSV files that were read, relative to the folder of the images."""

    found: str = ""
    """The layout as a phrase, such as `class folders`."""

    ignored: tuple[str, ...] = ()
    """What lies between the images and was left out."""

    def labels(self, split: Split) -> NDArray[np.int64]:
        """Return int64 (N,)."""
        return np.array([self.numbers[row.label] for row in self.rows[split]], dtype=np.int64)

    def files(self, split: Split) -> list[str]:
        """Return the image files of a split, relative to the folder of the images."""
        return [row.file for row in self.rows[split]]

    def without(self, files: Collection[str]) -> Listing:
        """Return the listing without some images; the classes stay.

        Raises:
            UserError: a class has no training image left.
        """
        kept: dict[Split, list[Row]] = {
            split: [row for row in rows if row.file not in files] for split, rows in self.rows.items()
        }
        num_train = len(self.rows["train"]) - self.num_validation
        num_kept = sum(row.file not in files for row in self.rows["train"][:num_train])
        missing = self.numbers.keys() - {row.label for row in kept["train"][:num_kept]}
        if missing:
            raise UserError(
                f"all training images of the class {printable(min(missing, key=natural))!r} are damaged; restore them, "
                "or remove the class."
            )
        rows: dict[Split, Sequence[Row]] = {split: some for split, some in kept.items() if some}
        return replace(self, rows=rows, num_validation=len(kept["train"]) - num_kept)

    def describe(self) -> str:
        """Return one line: layout, classes, images of each split, and what was ignored."""
        num_train = len(self.rows["train"]) - self.num_validation
        counts = {"training": num_train, "validation": self.num_validation, "test": len(self.rows.get("test", ()))}
        num_shown = len(self.class_names) if len(self.class_names) <= _ALL_NAMED else _SOME_NAMED
        shown = ", ".join(printable(name, max_length=30) for name in self.class_names[:num_shown])
        names = shown + (f" and {hidden:,} more" if (hidden := len(self.class_names) - num_shown) else "")
        images = ", ".join(f"{count:,} {part}" for part, count in counts.items() if count)
        others = ""
        if self.ignored:
            more = f" and {len(self.ignored) - 3:,} more" if len(self.ignored) > 3 else ""
            others = f"; ignored: {printable(', '.join(self.ignored[:3]))}{more}"
        return f"found {self.found}: {len(self.class_names):,} classes ({names}), {images} images{others}"


def make_listing(
    parts: Mapping[Part, Sequence[Row]],
    *,
    where: str,
    found: str,
    tables: tuple[str, ...] = (),
    ignored: Sequence[str] = (),
    are_names: bool = False,
) -> Listing:
    """Number the classes and check the images.

    Labels that are all whole numbers are sorted as numbers, others as names; `are_names`: these are names.

    Raises:
        UserError: there is one class only, a label contradicts another row, a class has no training images, or an image
            is listed in two splits.
    """
    train, validation, test = (list(parts.get(part, ())) for part in ("train", "validation", "test"))
    if not train:
        raise UserError(f"{where} has no training images; expected at least one of each class.")
    names = _names(((row.place, row.label, row.name) for row in train), "class", are_names=are_names)
    if len(names) < 2:
        raise UserError(
            f"{where} has the single class {printable(next(iter(names)), max_length=60)!r}, expected at least two; add "
            "images of another."
        )
    _check_splits({"train": train, "validation": validation, "test": test}, names)
    rows = [*train, *validation, *test]
    _check_names(rows, names)
    superclass_names, class_to_superclass = _superclasses(rows, names)
    splits: dict[Split, Sequence[Row]] = {"train": [*train, *validation]}
    return Listing(
        rows=splits | ({"test": test} if test else {}),
        num_validation=len(validation),
        class_names=tuple(names.values()),
        superclass_names=superclass_names,
        class_to_superclass=class_to_superclass,
        numbers={label: number for number, label in enumerate(names)},
        tables=tables,
        found=found,
        ignored=tuple(ignored),
    )


def _names(entries: Iterable[tuple[str, str, str]], kind: Kind, *, are_names: bool = False) -> dict[str, str]:
    """Return label -> name from (place, label, name), ordered; a label without a name is its own name."""
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    for place, label, name in entries:
        if names.setdefault(label, name) != name:
            raise _two_names(place, kind, label, name, names[label])
        if name and owners.setdefault(name, label) != label:
            raise UserError(
                f"{place}: the {kind} name {printable(name)!r} of label {printable(label)} is already the name of "
                f"label {printable(owners[name])}; give each label its own name."
            )
    for label, name in names.items():
        if owners and not name:
            raise UserError(f"{kind} label {printable(label)} has no name, but others have one; name all or none.")
    are_numbers = not are_names and all(_is_number(label) for label in names)
    ordered = sorted(names, key=int) if are_numbers else sorted(names, key=natural)
    return {label: names[label] or label for label in ordered}


def _is_number(label: str) -> bool:
    digits = label.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) <= 9 and str(int(label)) == label


def _two_names(place: str, kind: Kind, label: str, name: str, other: str) -> UserError:
    return UserError(
        f"{place}: the {kind} name is {printable(name)!r}, but another row with label {printable(label)} has "
        f"{printable(other)!r}; use one name per label."
    )


def _check_splits(parts: Mapping[Part, Sequence[Row]], names: Mapping[str, str]) -> None:
    """Refuse a class that has no training images, and an image that is in two splits."""
    places = {row.file: (row.place, "training") for row in parts["train"]}
    kinds: tuple[Part, ...] = ("validation", "test")
    for kind in kinds:
        for row in parts[kind]:
            if row.label not in names:
                raise UserError(
                    f"{row.place}: the class is {printable(row.label)!r}, which has no training images; correct the "
                    "label, or add training images."
                )
            if row.file in places:
                place, other = places[row.file]
                raise UserError(
                    f"{row.place}: {row.file} is also a {other} image ({place}), which would bias the {kind}; list it "
                    "in one of the files."
                )
        places |= {row.file: (row.place, kind) for row in parts[kind]}


def _check_names(rows: Iterable[Row], names: Mapping[str, str]) -> None:
    """Refuse a validation or test image whose class has another name than in training."""
    for row in rows:
        if row.name and row.name != names[row.label]:
            raise _two_names(row.place, "class", row.label, row.name, names[row.label])


def _superclasses(rows: Sequence[Row], names: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the superclass names and the superclass of each class; both may be empty."""
    superclasses: dict[str, str] = {}
    for row in rows:
        if superclasses.setdefault(row.label, row.superclass) != row.superclass:
            raise UserError(
                f"{row.place}: the superclass is {printable(row.superclass) or 'empty'}, but another row of class "
                f"{printable(row.label)} has {printable(superclasses[row.label]) or 'none'}; give all its rows "
                "the same."
            )
        if row.superclass_name and not row.superclass:
            raise UserError(f"{row.place} has a superclass name but no superclass label; add both or neither.")
    if not any(superclasses.values()):
        return (), ()
    for label, superclass in superclasses.items():
        if not superclass:
            raise UserError(
                f"class {printable(label)} has no superclass label, but others have one; label all or none."
            )
    found = _names(((row.place, row.superclass, row.superclass_name) for row in rows), "superclass")
    numbers = {label: number for number, label in enumerate(found)}
    return tuple(found.values()), tuple(numbers[superclasses[label]] for label in names)
