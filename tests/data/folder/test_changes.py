"""Every edit of a data folder is found, by size and time or by content; nothing else is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from custom_folder import make_custom, paint, write_csv
from fabricated_release import fabricate

from cifar100.data.folder.changes import Changes, find_changes
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.record import RECORD
from cifar100.data.folder.release_images import prepare_release
from cifar100.data.sources.shapes100 import draw
from cifar100.errors import UserError


def changes(root: Path, *, thorough: bool = False) -> Changes:
    folder = DataFolder(root)
    return find_changes(folder, folder.info(), thorough=thorough)


def invert(path: Path) -> None:
    np.save(path, 255 - np.load(path))


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


Edit = Callable[[Path], object]

CUSTOM: dict[str, tuple[Edit, str]] = {
    "image": (lambda root: paint(root / "train_images/03.png", "red", seed=99), "train_images/03.png has changed"),
    "images": (
        lambda root: [paint(root / f"train_images/0{index}.png", "red", seed=99 + index) for index in range(3)],
        "train_images/00.png and 2 more files have changed",
    ),
    "labels": (lambda root: replace_text(root / "train.csv", "03.png,1,blue", "03.png,0,red"), "train.csv has changed"),
    "class name": (
        lambda root: [(root / f).write_text((root / f).read_text().replace("red", "rot")) for f in CSVS],
        "train.csv and 2 more files have changed",
    ),
    "test labels": (lambda root: replace_text(root / "test.csv", "1,blue", "0,red"), "test.csv has changed"),
    "test gone": (lambda root: (root / "test.csv").unlink(), "test.csv is missing"),
    "val gone": (lambda root: (root / "val.csv").unlink(), "val.csv is missing"),
    "val renamed": (lambda root: (root / "val.csv").rename(root / "valid.csv"), ""),
    "another file of the same label": (
        lambda root: [
            paint(root / "new.png", "blue", seed=77),
            replace_text(root / "train.csv", "train_images/03.png", "new.png"),
        ],
        "new.png has changed",
    ),
    "rows swapped": (
        lambda root: write_csv(
            root / "train.csv", [f"train_images/{i:02d}.png" for i in (2, 1, 0, *range(3, 20))], [0, 1] * 10
        ),
        "train_images/02.png and 1 more file have changed",
    ),
    "packed images": (
        lambda root: invert(root / "packed/train_images.npy"),
        "packed/train_images.npy is missing, damaged or changed",
    ),
    "packed labels": (
        lambda root: np.save(root / "packed/test_labels.npy", np.array([1, 0] * 3)),
        "packed/test_images.npy is missing, damaged or changed",
    ),
    "statistics": (
        lambda root: edit_json(root / "dataset.json", mean=[0.1, 0.1, 0.1]),
        "dataset.json is missing, damaged or changed",
    ),
    "class names": (
        lambda root: edit_json(root / "dataset.json", class_names=["x", "y"]),
        "train.csv and 2 more files have changed",
    ),
    "touched": (lambda root: os.utime(root / "train_images/03.png", (0, 0)), ""),
    "spaces in a CSV file": (lambda root: replace_text(root / "train.csv", ",0,", ", 0 ,"), ""),
    "no record": (lambda root: (root / RECORD).unlink(), ""),
    "nothing": (lambda root: None, ""),
}

CSVS = ("train.csv", "val.csv", "test.csv")


@pytest.mark.parametrize("kind", CUSTOM)
def test_an_edit_of_custom_data_is_found(kind: str, tmp_path: Path) -> None:
    edit, expected = CUSTOM[kind]
    prepare_custom(make_custom(tmp_path, val=4))
    edit(tmp_path)
    assert changes(tmp_path).describe() == expected


def test_a_test_split_that_is_added_is_found(tmp_path: Path) -> None:
    prepare_custom(make_custom(tmp_path, test=0))
    assert not changes(tmp_path)
    paint(tmp_path / "t.png", "red", seed=50)
    write_csv(tmp_path / "test.csv", ["t.png"], [0])
    assert changes(tmp_path).edited == ("test.csv",)


def test_a_csv_file_that_became_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    prepare_custom(make_custom(tmp_path))
    (tmp_path / "train_images/03.png").unlink()
    with pytest.raises(UserError, match=r"train.csv line 5: .*03.png does not exist"):
        changes(tmp_path)


IMAGE = "cifar100_images/train/00003_"

RELEASE: dict[str, tuple[Edit, str]] = {
    "image": (lambda root: paint(image(root), "red"), f"{IMAGE}x has changed"),
    "image cut": (lambda root: image(root).write_bytes(image(root).read_bytes()[:-5]), f"{IMAGE}x has changed"),
    "image gone": (lambda root: image(root).unlink(), f"{IMAGE}x is missing"),
    "labels": (
        lambda root: replace_text(root / "cifar100_images/train.csv", ".png,", ".png,1"),
        "cifar100_images/train.csv has changed",
    ),
    "packed images": (
        lambda root: invert(root / "packed/train_images.npy"),
        "packed/train_images.npy is missing, damaged or changed",
    ),
    "packed gone": (
        lambda root: shutil.rmtree(root / "packed"),
        "packed/train_images.npy and 1 more file are missing, damaged or changed",
    ),
    "originals": (
        lambda root: (root / "cifar-100-python/train").write_bytes(b"damaged"),
        "cifar-100-python/train has changed",
    ),
    "originals gone": (lambda root: (root / "cifar-100-python/meta").unlink(), "cifar-100-python/meta is missing"),
    "class names": (
        lambda root: replace_text(root / "dataset.json", '"class_names": [\n    "', '"class_names": [\n    "another '),
        "dataset.json is missing, damaged or changed",
    ),
    "copied": (lambda root: [os.utime(path, (0, 0)) for path in root.rglob("*")], ""),
    "no record": (lambda root: (root / RECORD).unlink(), ""),
    "nothing": (lambda root: None, ""),
}


def image(root: Path) -> Path:
    return next(root.glob(f"{IMAGE}*"))


@pytest.mark.parametrize("kind", RELEASE)
def test_an_edit_of_a_release_is_found(kind: str, tmp_path: Path) -> None:
    edit, expected = RELEASE[kind]
    prepare_release(fabricate(num_train=24, num_test=8), tmp_path)
    expected = expected.replace(f"{IMAGE}x", image(tmp_path).relative_to(tmp_path).as_posix())
    edit(tmp_path)
    assert changes(tmp_path).describe() == expected


def test_new_times_of_the_same_content_become_the_new_record(tmp_path: Path) -> None:
    prepare_release(draw(train_per_class=1, test_per_class=1), tmp_path)
    assert changes(tmp_path).stamps is None
    os.utime(tmp_path / "cifar100_images/train.csv", (0, 0))
    found = changes(tmp_path)
    assert not found
    assert found.stamps is not None
    assert found.stamps["cifar100_images/train.csv"][1] == 0


def test_an_edit_under_the_old_size_and_time_is_found_by_reading_everything(tmp_path: Path) -> None:
    prepare_custom(make_custom(tmp_path))
    file = tmp_path / "train.csv"
    before = file.stat()
    replace_text(file, "03.png,1,blue\n", "03.png,0,red \n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not changes(tmp_path), "as docs/reliability.md says"
    assert changes(tmp_path, thorough=True).edited == ("train.csv",)
