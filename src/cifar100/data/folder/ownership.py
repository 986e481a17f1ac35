"""Who may write into a data folder: nobody into a folder of other things, and one process at a time."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cifar100.data.dataset_info import INFO
from cifar100.data.folder.layout import SPLITS, DataFolder
from cifar100.data.folder.record import RECORD, has_record, read_record
from cifar100.data.layouts.reading import SKIPPED
from cifar100.data.layouts.recognition import describe_unknown, held_containers, is_imported
from cifar100.data.layouts.tables import TABLES, TRAIN_TABLES, has_table
from cifar100.data.sources.download import ARCHIVE
from cifar100.data.sources.published_lists import DUPLICATES, LABEL_ERRORS
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, writing_below
from cifar100.files.locks import holding, is_held
from cifar100.files.regular import why_not
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import printable

LOCK = ".cifar100.lock"

_FILES = (RECORD, INFO, ARCHIVE, f"{ARCHIVE}.part", DUPLICATES.name, LABEL_ERRORS.name, SKIPPED, *TABLES)
_FOLDERS = ("cifar-100-python", "cifar100_images", "packed")
"""Our names in a data folder, of regular files and of folders."""

_BEGUN = {RECORD, "cifar-100-python", ARCHIVE, f"{ARCHIVE}.part"}
"""Each of these makes a folder of our names one that is to become a data folder."""

_IGNORED = {LOCK, f"{LOCK}.owner", ".DS_Store", ".ipynb_checkpoints", "Thumbs.db", "desktop.ini", "lost+found"}
_IGNORED |= {".directory", ".gitignore", ".gitkeep", "$RECYCLE.BIN", "System Volume Information"}
"""The lock, and what operating systems and editors put into folders."""

_IGNORED_PATTERN = re.compile(r"README.*|\._.*|\.nfs.*|\..*\.partial")
"""The same; partial files are those of killed processes."""

_MAX_RECORDED = 4_000_000
"""Files of a record; more images than its arrays can hold."""


def check_ours(root: Path) -> None:
    """Refuse a folder that holds other things than a data set. Writes nothing.

    A folder that does not exist yet, is empty, or in which a preparation was interrupted is accepted. So is a prepared
    one to which files were added.

    Raises:
        UserError: says what was found and what was expected.
    """
    check_kinds(root)
    try:
        found = {entry.name for entry in os.scandir(root)} - _IGNORED
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(
            f"{root} cannot be read ({error.strerror}); make it readable or choose another folder."
        ) from error
    names = {name for name in found if not _IGNORED_PATTERN.fullmatch(name)}
    folder = DataFolder(root)
    is_sound = folder.is_sound()
    if is_sound:
        _refuse_lost_labels(folder, names)
    if folder.is_custom():
        _refuse_other_spellings(root, names)
    elif names and not is_sound and not _is_damaged_only(root, names):
        _refuse_between_other_things(root, names)
    if not is_sound:
        _refuse_to_overwrite(folder, names)


def check_kinds(root: Path) -> None:
    """Refuse a link that leads nowhere, a FIFO or a device instead of a file or folder of a data folder.

    Raises:
        UserError: names the first of them.
    """
    for place in (root, *root.parents):
        wrong = why_not("folder", place)
        if wrong:
            raise UserError(f"{place} {wrong}; correct the path, or choose another folder.")
    places = [(root / name, why_not("regular file", root / name)) for name in _FILES]
    places += [(root / name, why_not("folder", root / name)) for name in _FOLDERS]
    for place, wrong in places:
        if wrong:
            raise UserError(f"{place} {wrong}; remove or replace it, or choose another folder.")


@contextmanager
def writing_alone(root: Path) -> Iterator[None]:
    """Create `root` if necessary, and hold its lock while the block runs. Wait for another process that holds it.

    If the block fails and has written nothing, the folders that were created are removed.

    Raises:
        UserError: the folder cannot be created or is not writable.
    """
    created = [place for place in (root, *root.parents) if not place.exists()]
    try:
        with writing_below(root):
            root.mkdir(parents=True, exist_ok=True)
            _check_writable(root)
        with holding(root / LOCK, what=f"the data folder {root}", wait=True):
            remove_leftovers(root)
            yield
    except BaseException:
        _remove_unused(created)
        raise


def _check_writable(root: Path) -> None:
    if os.access(root, os.W_OK):
        return
    if DataFolder(root).is_custom():
        raise UserError(
            f"{root} is not writable, but preparing custom data writes packed arrays into it; copy the "
            "folder to a writable place."
        )
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root))


def _remove_unused(created: list[Path]) -> None:
    """Remove folders, the innermost first, that hold at most a lock that nobody holds and an empty `.part`."""
    for place in created:
        with suppress(OSError):  # it is not empty, or was never created
            left, part = {path.name for path in place.iterdir()}, place / f"{ARCHIVE}.part"
            if left <= {LOCK, part.name} and not is_held(place / LOCK):
                for path in (place / LOCK, part):
                    if path.exists() and path.stat().st_size == 0:
                        path.unlink()
            place.rmdir()


def remove_leftovers(root: Path) -> None:
    """Remove the partial files of processes that have ended, from every folder of a data folder.

    The `.part` of a download stays, because the next download resumes it.
    """
    folder = DataFolder(root)
    images = [folder.images / split for split in SPLITS]
    other_sizes = folder.packed.glob("[0-9]*")
    for place in (root, folder.originals, folder.packed, *other_sizes, folder.images, *images):
        if place.is_dir():
            remove_partial_files(place)


def _is_damaged_only(root: Path, names: set[str]) -> bool:
    """Return whether a complete record shows that a `dataset.json`, now damaged, is ours."""
    return INFO in names and INFO in read_record(root, max_files=_MAX_RECORDED)


def _refuse_between_other_things(root: Path, names: set[str]) -> None:
    """Refuse a folder that is not a data folder, has no layout that can be prepared, and not only our names."""
    others = names - {*_FILES, *_FOLDERS} | (names & set(TABLES))
    if names & _BEGUN and not others:
        return
    originals = next((name for name in ("cifar-100-python", "cifar-100-python-target", ARCHIVE) if name in names), None)
    if originals is None:
        if held_containers(root):
            return
        raise UserError(describe_unknown(root))
    raise UserError(
        f"{root} holds {originals} beside other files ({_first(sorted(others))}), and nothing is written among them; "
        f"prepare a new folder: cifar100 prepare --source {as_argument(root / originals)} --root NEW"
    )


def _refuse_to_overwrite(folder: DataFolder, names: set[str]) -> None:
    """Refuse files of our names that no record and no `dataset.json` shows to be ours."""
    root, found = folder.root, []
    is_begun = has_record(root)
    if RECORD in names and not is_begun:
        found.append(RECORD)
    if INFO in names and not _is_damaged_only(root, names):
        found.append(INFO)
    if not is_begun:
        arrays = [path(split) for split in SPLITS for path in (folder.packed_images, folder.packed_labels)]
        found += [path.relative_to(root).as_posix() for path in (*arrays, root / SKIPPED) if path.exists()]
        if not folder.is_custom() and folder.images.is_dir() and any(folder.images.iterdir()):
            found.append(folder.images.name)
    if found:
        raise UserError(
            f"{root} holds {' and '.join(found)}, which this program did not write but would overwrite; move "
            f"{'it' if len(found) == 1 else 'them'} away, or choose another folder."
        )


def _refuse_other_spellings(root: Path, names: set[str]) -> None:
    """Refuse a CSV file such as `VAL.csv`, which would be ignored."""
    found = sorted(name for name in names if name.lower() in TABLES and name not in TABLES)
    if found:
        raise UserError(
            f"{root} holds {' and '.join(found)}, expected {' and '.join(name.lower() for name in found)}; rename or "
            "remove what is not in lower case."
        )


def _refuse_lost_labels(folder: DataFolder, names: set[str]) -> None:
    """Refuse custom data that were prepared and whose table or class folders are gone: other labels are not used."""
    root = folder.root
    if has_table(root) or is_imported(root) or folder.info().origin != "custom":
        return
    recorded = read_record(root, max_files=_MAX_RECORDED)
    table = next((name for name in TRAIN_TABLES if name in recorded), None)
    if folder.is_custom() and table is None:
        return
    lost = f"a {table}" if table else "class folders" if recorded else "a train.csv or class folders"
    others = sorted(name for name in names if name.lower().endswith((".csv", ".tsv")))
    there = f"; there is {printable(', '.join(others))}" if others else ""
    again = f"rename the list of the training images back to {table}" if table else "restore them"
    raise UserError(
        f"{root} holds custom data that were prepared from {lost}, which {'is' if table else 'are'} missing{there}; "
        f"{again}."
    )


def _first(names: list[str]) -> str:
    return printable(", ".join(names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
