"""Releases that are loaded, and those that are not replaced by another."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricated_release import equal, fabricate, python_files, write_folder, write_tar

from cifar100.data.folder.changes import Changes
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.release_images import prepare_release
from cifar100.data.preparation import releases
from cifar100.data.preparation.releases import how_to_use_edited, load, prepare_alone, refuse_other_data, restore
from cifar100.errors import UserError

RELEASE, OTHER = fabricate(), fabricate(num_train=7)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    root = tmp_path / "data"
    prepare_release(RELEASE, root, files=python_files(RELEASE))
    return DataFolder(root)


def test_a_release_is_loaded_with_its_files_unless_they_are_in_place(folder: DataFolder, tmp_path: Path) -> None:
    archive = write_tar(python_files(RELEASE), tmp_path / "given.tar.gz")
    release, files = load(str(archive), folder)
    assert equal(release, RELEASE)
    assert files == python_files(RELEASE)
    _, files = load(str(folder.originals), folder)
    assert files == {}


def test_another_data_set_is_not_replaced(folder: DataFolder) -> None:
    present = folder.info()
    refuse_other_data("given", present, folder, (RELEASE, None))
    with pytest.raises(UserError, match=r"data holds CIFAR-100, not the official .*, not CIFAR-100, .*\(given\)"):
        refuse_other_data("given", present, folder, (OTHER, None))
    with pytest.raises(UserError, match="not Shapes-100, generated; choose another --root"):
        prepare_alone("generated", folder, None)


def test_originals_of_another_release_are_not_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_folder(python_files(OTHER), root / "cifar-100-python")
    with pytest.raises(UserError, match="move that folder away or choose another root"):
        prepare_alone("given", DataFolder(root), (RELEASE, None))


def test_a_damaged_array_is_written_again_from_the_originals(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "load", None)
    before = folder.packed_images("train").read_bytes()
    folder.packed_images("train").write_bytes(before[:-1])
    assert restore(folder, folder.info()) == folder.info()
    assert folder.packed_images("train").read_bytes() == before
    folder.packed_images("train").unlink()
    (folder.originals / "train").unlink()
    with pytest.raises(
        UserError, match=r"missing or damaged as well; prepare the data from their source again: cifar100"
    ):
        restore(folder, folder.info())


def test_an_edit_can_be_undone_or_used(folder: DataFolder) -> None:
    image, original = Changes(edited=("cifar100_images/train/1.png",)), Changes(edited=("cifar-100-python/train",))
    assert how_to_use_edited(folder, folder.info(), image).endswith("as the data folder (--data.root)")
    assert "where PATH is their source" in how_to_use_edited(folder, folder.info(), original)
