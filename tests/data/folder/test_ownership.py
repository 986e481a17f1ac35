from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from custom_folder import make_custom, paint
from ended_processes import partial_of_ended_process

from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.ownership import LOCK, announce_creation, check_ours, remove_leftovers, writing_alone
from cifar100.data.folder.record import RECORD, begin_record
from cifar100.data.prepare import ensure_prepared, prepare
from cifar100.errors import UserError
from cifar100.files.atomic import partial_path
from cifar100.files.locks import is_held


def class_folders(root: Path) -> None:
    paint(root / "cat/1.png", "red")
    paint(root / "dog/1.png", "blue")


def loose_images(root: Path) -> None:
    paint(root / "1.jpg", "red")


def other_name(root: Path) -> None:
    loose_images(root)
    (root / "labels.csv").write_text("file,fine_label\n1.jpg,0\n")


def only_test(root: Path) -> None:
    (root / "test.csv").write_text("file,fine_label\n1.jpg,0\n")


def documents(root: Path) -> None:
    for name in "abcdefg":
        (root / f"{name}.txt").write_text("mine")


def foreign_json(root: Path) -> None:
    (root / "dataset.json").write_text('{"name": "of another program"}')


FOREIGN: list[tuple[Callable[[Path], None], str]] = [
    (class_folders, r"holds folders of images \(cat, dog\), but no train.csv; .* such as cat/1.png,0"),
    (loose_images, r"holds images, but no train.csv; .*file,fine_label"),
    (other_name, r"holds labels.csv, but no train.csv; .*rename"),
    (only_test, r"holds test.csv, but no train.csv"),
    (documents, r"holds other things than a data set \(a.txt, .*e.txt and 2 more\)"),
    (foreign_json, r"holds other things than a data set \(dataset.json\)"),
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
    (tmp_path / "train.csv").rename(tmp_path / "labels.csv")
    expected = r"prepared from a train.csv, which is missing; there is labels.csv, test.csv; give"
    for source in ("download", "generated"):
        with pytest.raises(UserError, match=expected):
            ensure_prepared(source, tmp_path)
    with pytest.raises(UserError, match=expected):
        prepare(source="download", root=tmp_path)
    (tmp_path / "labels.csv").rename(tmp_path / "train.csv")
    ensure_prepared("download", tmp_path)


def test_a_new_folder_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    announce_creation(Path("dataset"), what="CIFAR-100")
    announce_creation(tmp_path, what="CIFAR-100")
    assert capsys.readouterr().out == ""
    announce_creation(tmp_path / "far/away", what="CIFAR-100")
    assert capsys.readouterr().out == f"{tmp_path}/far/away does not exist: creating it for CIFAR-100\n"
    (tmp_path / "cifar_data").mkdir()
    announce_creation(Path("cifar_dta"), what="CIFAR-100")
    assert capsys.readouterr().out == "cifar_dta does not exist: creating it for CIFAR-100 (not cifar_data?)\n"


def test_a_mistyped_name_of_custom_data_is_refused(tmp_path: Path) -> None:
    make_custom(tmp_path / "my_pets")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/my_pet does not exist, but {tmp_path}/my_pets holds")):
        ensure_prepared("generated", tmp_path / "my_pet")
    assert not (tmp_path / "my_pet").exists()


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
