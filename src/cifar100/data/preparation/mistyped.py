"""Find the folder that was meant by a path that does not exist, before anything is prepared there."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.terminal import say


def announce_creation(root: Path, *, what: str) -> None:
    """Say that `root` does not exist and will be created, with a folder that may have been meant instead.

    Raises:
        UserError: a folder of a similar name holds custom data.
    """
    if root.exists() or root == Path("dataset"):
        return
    similar = [path for path in _similar(Path(root.anchor), root.relative_to(root.anchor).parts) if path != root]
    for meant in similar:
        if DataFolder(meant).is_custom():
            raise UserError(
                f"{root} does not exist, but {printable(str(meant))} holds custom data; correct the name, or create "
                f"the folder first to prepare {what} in it."
            )
    hint = f" (not {printable(str(similar[0]))}?)" if similar else ""
    say(f"{root} does not exist: creating it for {what}{hint}")


def _similar(parent: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield the path of these names below `parent`; each that is missing is replaced by those of similar folders."""
    if not names:
        yield parent
    elif (parent / names[0]).is_dir():
        yield from _similar(parent / names[0], names[1:])
    else:
        try:
            siblings = [entry.name for entry in os.scandir(parent) if entry.is_dir()]
        except OSError:  # missing, or not readable; it only helps
            siblings = []
        similar = difflib.get_close_matches(names[0], siblings, cutoff=0.8)
        similar += [name for name in siblings if sorted(name) == sorted(names[0]) and name not in similar]  # pest, pets
        for name in similar:
            yield from _similar(parent / name, names[1:])
        if not similar:
            yield parent.joinpath(*names)
