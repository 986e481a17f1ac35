"""The files of a prepared data folder: what is read back, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ended_processes import partial_of_ended_process
from small_folder import make_folder

from cifar100.data.dataset_info import DatasetInfo, write_info
from cifar100.data.folder.layout import DataFolder
from cifar100.data.packed_arrays import write_packed
from cifar100.errors import UserError


@pytest.fixture
def info(tmp_path: Path) -> DatasetInfo:
    return make_folder(tmp_path)


def test_custom_images_lie_beside_each_other_at_several_sizes(tmp_path: Path, info: DatasetInfo) -> None:
    large, plain = DataFolder(tmp_path, 48), DataFolder(tmp_path)
    assert large.packed_images("test") == tmp_path / "packed/48/test_images.npy"
    assert plain.packed_images("test") == tmp_path / "packed/test_images.npy"
    assert (large.info_name, plain.info_name) == ("packed/48/dataset.json", "dataset.json")
    assert large.prepared_sizes() == [32]
    large.packed.mkdir()
    write_info(info, large.info_file)
    assert plain.prepared_sizes() == [32, 48]
    (tmp_path / "train.csv").unlink()
    for split in ("train", "test"):  # without these it is a release
        shutil.rmtree(tmp_path / f"{split}_images")
    assert DataFolder(tmp_path, 48).packed == tmp_path / "packed"


def test_arrays_are_read_back_as_they_were_written(tmp_path: Path, info: DatasetInfo) -> None:
    folder = DataFolder(tmp_path)
    images, labels = folder.load("test")
    partial_of_ended_process(folder.packed / "train_images.npy").touch()
    write_packed(images[::-1], labels[::-1], folder, split="test")
    again = folder.load("test")
    assert np.array_equal(again[0], images[::-1])
    assert np.array_equal(again[1], labels[::-1])
    assert len(list(folder.packed.iterdir())) == 4


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((9, 3, 32, 32), np.uint8), None, r"holds uint8 \(9, 3, 32, 32\), expected uint8 \(10, 3, 32, 32\)"),
        (np.zeros((10, 3, 32, 32)), None, "an array of type float64"),
        (None, np.zeros(9, np.int64), r"holds int64 \(9,\), expected int64 \(10,\)"),
        (None, np.full(10, 5), "holds labels from 5 to 5, expected 0 to 4"),
        (None, np.full(10, -1), "holds labels from -1 to -1, expected 0 to 4"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, info: DatasetInfo, images: Any, labels: Any, message: str) -> None:
    folder = DataFolder(tmp_path)
    if images is not None:
        np.save(folder.packed_images("test"), images)
    if labels is not None:
        np.save(folder.packed_labels("test"), labels)
    with pytest.raises(UserError, match=message):
        folder.load("test")


def test_damaged_and_missing_arrays_say_how_to_prepare_them_again(tmp_path: Path, info: DatasetInfo) -> None:
    folder = DataFolder(tmp_path)
    folder.packed_images("test").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"cannot be read .*; run: cifar100 prepare --root"):
        folder.load("test")
    write_info(replace(info, num_test=0, origin="generated"), folder.info_file)
    with pytest.raises(UserError, match="has no test split"):
        folder.load("test")
    folder.packed_images("train").unlink()
    with pytest.raises(UserError, match=r"run: cifar100 prepare --source generated --root"):
        folder.load("train")
    folder.info_file.unlink()
    with pytest.raises(UserError, match=r"holds no prepared data; to prepare data, run: cifar100 prepare --root"):
        folder.load("train")


def test_custom_data_have_their_csv_files_in_the_root(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.csv("test") == tmp_path / "cifar100_images" / "test.csv"
    (tmp_path / "train.csv").touch()
    assert folder.is_custom()
    assert folder.csv("test") == tmp_path / "test.csv"
