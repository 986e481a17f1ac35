from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from custom_folder import make_custom, paint
from ended_processes import partial_of_ended_process

from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.ownership import LOCK, check_ours, remove_leftovers, writing_alone
from cifar100.data.folder.record import RECORD, begin_record
from cifar100.data.folder.release_images import prepare_release
from cifar100.data.prepare import ensure_prepared, prepare
from cifar100.data.sources.shapes100 import draw
from cifar100.errors import UserError
from cifar100.files.atomic import partial_path
from cifar100.files.locks import is_held
from cifar100.files.user_paths import as_argument


def loose_images(root: Path) -> None:
    paint(root / "1.jpg", "red")


def other_name(root: Path) -> None:
    loose_images(root)
    (root / "mine.csv").write_text("file,fine_label\n1.jpg,0\n")


def only_test(root: Path) -> None:
    (root / "test.csv").write_text("file,fine_label\n1.jpg,0\n")


def documents(root: Path) -> None:
    for name in "abcdefg":
        (root / f"{name}.txt").write_text("mine")


def foreign_json(root: Path) -> None:
    (root / "dataset.json").write_text('{"name": "of another program"}')


FOREIGN: list[tuple[Callable[[Path], None], str]] = [
    (loose_images, r"holds images, but no labels; .*write a train.csv with the columns file and label"),
    (other_name, r"holds mine.csv, but no train.csv; rename"),
    (only_test, r"holds test.csv, but no train.csv"),
    (documents, r"holds no data set \(a.txt, .*e.txt and 2 more\)"),
    (foreign_json, r"holds no data set \(dataset.json\)"),
]


@pytest.mark.parametrize(("fill", "message"), FOREIGN, ids=[fill.__name__ for fill, _ in FOREIGN])
def test_nothing_is_written_into_a_folder_of_other_things(
    fill: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    fill(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for source in ("generated", "download"):
        for act in (
            lambda: prepare(source=source, root=tmp_path),  # noqa: B023
            lambda: ensure_prepared(source, tmp_path),  # noqa: B023
        ):
            with pytest.raises(UserError, match=message) as caught:
                act()
            assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


OURS: list[Callable[[Path], object]] = [
    lambda root: None,
    lambda root: root.rmdir(),
    lambda root: (root / ".DS_Store").touch(),
    lambda root: (root / LOCK).touch(),
    lambda root: partial_of_ended_process(root / RECORD).touch(),
    begin_record,
    lambda root: (root / "cifar-100-python").mkdir(),
    lambda root: (root / "cifar-100-python.tar.gz").touch(),
    lambda root: (root / "cifar-100-python.tar.gz.part").touch(),
    lambda root: (root / "train.csv").touch(),
]


@pytest.mark.parametrize("number", range(len(OURS)))
def test_an_empty_or_new_folder_and_one_of_ours_are_accepted(number: int, tmp_path: Path) -> None:
    OURS[number](tmp_path)
    check_ours(tmp_path)


def test_custom_data_whose_train_csv_was_renamed_are_not_used(tmp_path: Path) -> None:
    prepare_custom(make_custom(tmp_path))
    (tmp_path / "train.csv").rename(tmp_path / "list.csv")
    expected = r"prepared from a train.csv, which is missing; there is list.csv, test.csv; rename"
    for source in ("download", "generated"):
        with pytest.raises(UserError, match=expected):
            ensure_prepared(source, tmp_path)
    with pytest.raises(UserError, match=expected):
        prepare(source="download", root=tmp_path)
    (tmp_path / "list.csv").rename(tmp_path / "train.csv")
    ensure_prepared("download", tmp_path)


def test_one_process_at_a_time_writes_and_leftovers_of_ended_ones_go(tmp_path: Path) -> None:
    root = tmp_path / "new/root"
    with writing_alone(root):
        assert is_held(root / LOCK)
    assert not is_held(root / LOCK)
    places = ("", "cifar-100-python", "cifar100_images", "cifar100_images/train", "cifar100_images/test", "packed")
    living = []
    for place in places:
        (root / place).mkdir(exist_ok=True)
        partial_of_ended_process(root / place / "x").write_text("half")
        living.append(partial_path(root / place / "x"))
        living[-1].write_text("half")
    (root / "cifar-100-python.tar.gz.part").write_text("half")
    remove_leftovers(root)
    left = {path for path in root.rglob("*") if path.is_file()} - {root / LOCK}
    assert left == {*living, root / "cifar-100-python.tar.gz.part"}


# ---------------------------------------------------------------- our names that are not ours


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


WRONG_KINDS: list[tuple[Callable[[Path], None], str]] = [
    (dangling, "is a link to nowhere, which does not exist"),
    (lambda path: path.mkdir(), r"is not a regular file \(a folder\)"),
    (os.mkfifo, r"is not a regular file \(a FIFO\)"),
    (lambda path: path.symlink_to("/dev/null"), r"is not a regular file \(a device\)"),
    (lambda path: path.symlink_to(path.name), r"is not a regular file \(a link that leads to itself\)"),
]


def refused_and_untouched(root: Path, message: str) -> None:
    before = {path: path.lstat().st_mtime_ns for path in root.parent.rglob("*")}
    for act in (lambda: prepare(source="download", root=root), lambda: ensure_prepared("download", root)):
        with pytest.raises(UserError, match=message) as caught:
            act()
        assert str(caught.value).isprintable()
    assert {path: path.lstat().st_mtime_ns for path in root.parent.rglob("*")} == before


@pytest.mark.parametrize(("make", "message"), WRONG_KINDS)
@pytest.mark.parametrize("name", ["train.csv", "dataset.json", "cifar-100-python.tar.gz", ".prepared"])
def test_what_is_no_regular_file_makes_no_data_folder(
    name: str, make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    refused_and_untouched(tmp_path, rf"{name} {message}")


@pytest.mark.parametrize(("make", "message"), WRONG_KINDS)
@pytest.mark.parametrize("name", ["test.csv", "val.csv", "validation.csv"])
def test_a_table_that_is_no_regular_file_is_not_ignored(
    name: str, make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make_custom(tmp_path, train=4, test=0)
    make(tmp_path / name)
    refused_and_untouched(tmp_path, rf"{name} {message}")


def test_an_original_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for make, message in ((dangling, "is a link to nowhere"), (lambda path: path.touch(), "is a file, expected a f")):
        make(tmp_path / "cifar-100-python")
        refused_and_untouched(tmp_path, rf"cifar-100-python {message}")
        (tmp_path / "cifar-100-python").unlink()


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("away")
    refused_and_untouched(tmp_path / "file", r"\bfile is a file, expected a folder; correct the path")
    refused_and_untouched(tmp_path / "file/below", r"\bfile is a file, expected a folder; correct the path")
    refused_and_untouched(tmp_path / "link", r"\blink is a link to away, which does not exist")


def test_tables_in_other_spellings_are_not_ignored(tmp_path: Path) -> None:
    make_custom(tmp_path, train=4, test=2)
    (tmp_path / "test.csv").rename(tmp_path / "Test.csv")
    (tmp_path / "VAL.csv").touch()
    refused_and_untouched(tmp_path, r"holds Test.csv and VAL.csv, expected test.csv and val.csv; rename")


@pytest.mark.parametrize("name", ["dataset.json", "packed/train_images.npy", "packed/test_labels.npy", ".prepared"])
def test_a_persons_own_files_are_not_overwritten(name: str, tmp_path: Path) -> None:
    make_custom(tmp_path, train=4, test=2)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"mine": 1}')
    refused_and_untouched(tmp_path, rf"holds {name}, which this program did not write but would overwrite; move it")
    (tmp_path / name).unlink()  # the advice, followed
    prepare(source="download", root=tmp_path)
    (tmp_path / name).write_text("damaged")
    assert prepare(source="download", root=tmp_path).num_train == 4, "ours, so written again"


@pytest.mark.parametrize("ours", ["cifar-100-python", "cifar-100-python.tar.gz", ".prepared"])
def test_a_persons_things_beside_our_names_make_no_data_folder(ours: str, tmp_path: Path) -> None:
    (tmp_path / ours).mkdir() if ours == "cifar-100-python" else (tmp_path / ours).touch()
    for system in (".DS_Store", "Thumbs.db", "desktop.ini", ".gitignore", "README.md", "._x"):
        (tmp_path / system).touch()
    check_ours(tmp_path)
    (tmp_path / "thesis.tex").touch()
    command = re.escape(f"cifar100 prepare --source {as_argument(tmp_path / ours)} --root NEW")
    advice = rf"beside other files \(thesis.tex\).* {command}"
    refused_and_untouched(tmp_path, r"holds no data set \(README.md, thesis.tex\)" if ours == ".prepared" else advice)


def test_a_prepared_folder_to_which_files_were_added_stays_usable(tmp_path: Path) -> None:
    prepare_release(draw(train_per_class=1, test_per_class=1), tmp_path)
    (tmp_path / "notes.txt").touch()
    check_ours(tmp_path)
    (tmp_path / "dataset.json").write_text("damaged")
    check_ours(tmp_path)


def test_new_folders_are_removed_if_nothing_was_written(tmp_path: Path) -> None:
    root = tmp_path / "new/root"
    with pytest.raises(UserError, match="no network"), writing_alone(root):
        raise UserError("no network")
    assert list(tmp_path.iterdir()) == []

    def fetch_nothing() -> None:
        (root / "cifar-100-python.tar.gz.part").touch()
        raise UserError("no network")

    with pytest.raises(UserError, match="no network"), writing_alone(root):
        fetch_nothing()
    assert list(tmp_path.iterdir()) == []

    def fetch_half() -> None:
        (root / "cifar-100-python.tar.gz.part").write_text("half")
        raise UserError("no network")

    with pytest.raises(UserError, match="no network"), writing_alone(root):
        fetch_half()
    assert (root / "cifar-100-python.tar.gz.part").exists()


def test_an_empty_folder_of_a_person_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="no network"), writing_alone(tmp_path / "mine/new"):
        raise UserError("no network")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert list((tmp_path / "mine").iterdir()) == []


def test_custom_data_in_a_read_only_folder_are_to_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_custom(tmp_path, train=4, test=0)
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused_and_untouched(tmp_path, "is not writable, .* copy the folder to a writable place")
