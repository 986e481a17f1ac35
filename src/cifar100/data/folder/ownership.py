"""Who may write into a data folder: nobody into a folder of other things, and one process at a time."""

from __future__ import annotations

import difflib
import errno
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar100.data.folder.layout import SPLITS, DataFolder
from cifar100.data.folder.record import RECORD
from cifar100.data.sources.download import ARCHIVE
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, writing_below
from cifar100.files.locks import holding
from cifar100.foreign_text import printable
from cifar100.terminal import say

LOCK = ".cifar100.lock"

_OURS = {RECORD, "cifar-100-python", ARCHIVE, f"{ARCHIVE}.part", "train.csv"}
"""Each of these makes a folder a data folder, or one that is to become a data folder."""

_IGNORED = {LOCK, f"{LOCK}.owner", ".DS_Store", ".ipynb_checkpoints", "Thumbs.db", "desktop.ini", "lost+found"}
"""The lock, and what operating systems and editors put into folders."""

_IMAGE_SUFFIXES = {".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}

_MAX_LOOKED_AT = 100
"""Number of entries of a folder that are looked at to describe it."""


def check_ours(root: Path) -> None:
    """Refuse a folder that holds other things than a data set. Writes nothing.

    A folder that does not exist yet, is empty, or in which a preparation was interrupted is accepted.

    Raises:
        UserError: says what was found and what was expected.
    """
    try:
        found = {entry.name for entry in os.scandir(root)} - _IGNORED
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(
            f"{root} cannot be read ({error.strerror}); make it readable or choose another folder."
        ) from error
    names = {name for name in found if not (name.startswith(".") and name.endswith(".partial"))}  # of killed processes
    _refuse_lost_csv(root, names)
    if not names or names & _OURS or DataFolder(root).is_sound():
        return
    raise UserError(_describe_foreign(root, sorted(names)))


def announce_creation(root: Path, *, what: str) -> None:
    """Say that `root` does not exist and will be created, with a folder that may have been meant instead.

    Raises:
        UserError: a folder of a similar name holds custom data.
    """
    if root.exists() or root == Path("dataset"):
        return
    siblings = [entry.name for entry in root.parent.iterdir() if entry.is_dir()] if root.parent.is_dir() else []
    similar = difflib.get_close_matches(root.name, siblings, n=1, cutoff=0.8)
    meant = root.parent / similar[0] if similar else None
    if meant is not None and DataFolder(meant).is_custom():
        raise UserError(
            f"{root} does not exist, but {printable(str(meant))} holds custom data; correct the name, or create the "
            f"folder first to prepare {what} in it."
        )
    say(f"{root} does not exist: creating it for {what}" + (f" (not {printable(str(meant))}?)" if meant else ""))


@contextmanager
def writing_alone(root: Path) -> Iterator[None]:
    """Create `root` if necessary, and hold its lock while the block runs. Wait for another process that holds it.

    Raises:
        UserError: the folder cannot be created or is not writable.
    """
    with writing_below(root):
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root))
    with holding(root / LOCK, what=f"the data folder {root}", wait=True):
        remove_leftovers(root)
        yield


def remove_leftovers(root: Path) -> None:
    """Remove the partial files of processes that have ended, from every folder of a data folder.

    The `.part` of a download stays, because the next download resumes it.
    """
    folder = DataFolder(root)
    images = [folder.images / split for split in SPLITS]
    for place in (root, folder.originals, folder.packed, folder.images, *images):
        if place.is_dir():
            remove_partial_files(place)


def _refuse_lost_csv(root: Path, names: set[str]) -> None:
    """Refuse custom data that were prepared and whose `train.csv` is gone: their images may have changed unseen."""
    folder = DataFolder(root)
    if "train.csv" in names or not folder.is_sound() or folder.info().origin != "custom":
        return
    others = sorted(name for name in names if name.lower().endswith(".csv"))
    there = f"; there is {printable(', '.join(others))}" if others else ""
    raise UserError(
        f"{root} holds custom data that were prepared from a train.csv, which is missing{there}; give the list of the "
        "training images its name train.csv again."
    )


def _describe_foreign(root: Path, names: list[str]) -> str:
    expected = "a train.csv with the columns file,fine_label and a line for each image"
    shown = printable(", ".join(names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    tables = [name for name in names if name.lower().endswith(".csv")]
    if tables:
        return (
            f"{root} holds {printable(', '.join(tables[:5]))}, but no train.csv; custom data need {expected}: rename "
            "the list of the training images, or choose another folder."
        )
    if _has_images(root):
        return (
            f"{root} holds images, but no train.csv; custom data need {expected}; write it, or choose another folder."
        )
    classes = [name for name in names[:_MAX_LOOKED_AT] if (root / name).is_dir() and _has_images(root / name)]
    if classes:
        return (
            f"{root} holds folders of images ({printable(', '.join(classes[:5]))}), but no train.csv; custom data need "
            f"{expected}, such as {printable(classes[0])}/1.png,0; write it, or choose another folder."
        )
    return (
        f"{root} holds other things than a data set ({shown}), and nothing is written between them; choose an empty or "
        f"a new folder, or for custom data write {expected}."
    )


def _has_images(folder: Path) -> bool:
    try:
        entries = list(itertools.islice(os.scandir(folder), _MAX_LOOKED_AT))
    except OSError:
        return False
    return any(Path(entry.name).suffix.lower() in _IMAGE_SUFFIXES for entry in entries)
