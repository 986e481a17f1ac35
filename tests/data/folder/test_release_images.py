from __future__ import annotations

from pathlib import Path

from ended_processes import partial_of_ended_process
from fabricated_release import equal, fabricate, python_files

from cifar100.data.dataset_info import INFO
from cifar100.data.folder.layout import SPLITS, DataFolder
from cifar100.data.folder.record import RECORD, read_record
from cifar100.data.folder.release_images import (
    prepare_release,
    read_originals,
    release_csv,
    release_images,
    release_originals,
)

RELEASE = fabricate(num_train=24, num_test=8)


def test_every_file_but_the_packed_arrays_is_recorded(tmp_path: Path) -> None:
    info = prepare_release(RELEASE, tmp_path)
    folder = DataFolder(tmp_path)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    recorded = list(read_record(tmp_path, max_files=100))
    assert set(recorded) == {name for name in written if not name.startswith("packed/")} - {RECORD}
    images = [
        name
        for split in SPLITS
        for name in release_images(folder, info, getattr(RELEASE, split).fine_labels, split=split)
    ]
    csvs = [release_csv(folder, split) for split in SPLITS]
    assert recorded == [*csvs, *release_originals(folder), *images, INFO]


def test_originals_are_read_back_unless_they_are_missing_or_damaged(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert read_originals(folder) is None
    prepare_release(RELEASE, tmp_path, files=python_files(RELEASE))
    originals = read_originals(folder)
    assert originals is not None
    assert equal(originals, RELEASE)
    (folder.originals / "meta").write_bytes(b"damaged")
    assert read_originals(folder) is None


def test_leftovers_of_ended_processes_are_removed(tmp_path: Path) -> None:
    for place in ("cifar-100-python", "cifar100_images/test", "packed"):
        (tmp_path / place).mkdir(parents=True)
        partial_of_ended_process(tmp_path / place / "x").write_text("half")
    prepare_release(RELEASE, tmp_path)
    assert not list(tmp_path.rglob("*.partial"))
