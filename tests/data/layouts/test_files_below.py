from __future__ import annotations

from pathlib import Path

import pytest
from custom_folder import paint

from cifar100.data.layouts import files_below
from cifar100.data.layouts.contained import container_files
from cifar100.data.layouts.files_below import find_files, holds_image, natural
from cifar100.errors import UserError


def test_numbers_are_compared_as_numbers() -> None:
    names = ["b", "img10", "img2", "IMG1", "a1b2", "a1b10", "10", "9", "é", "e"]
    assert sorted(names, key=natural) == ["9", "10", "a1b2", "a1b10", "b", "e", "IMG1", "img2", "img10", "é"]
    assert natural("a1") != natural("A1"), "the order does not depend on the file system"


def test_a_search_for_containers_does_not_sort_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat").mkdir()
    for name in (*(f"{index}.png" for index in range(20)), "10.PARQUET", "9.parquet", ".8.parquet"):
        (tmp_path / "cat" / name).touch()
    keys: list[str] = []
    monkeypatch.setattr(files_below, "natural", lambda name: keys.append(name) or natural(name))
    assert [path.name for path in container_files(tmp_path, ".parquet")] == ["9.parquet", "10.PARQUET"]
    assert sorted(keys) == ["10.PARQUET", "9.parquet", "cat"]


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(4):
        paint(tmp_path / f"{index}.png", "red")
    monkeypatch.setattr(files_below, "MAX_FILES", 3)
    with pytest.raises(UserError, match="holds more than 3 files"):
        find_files(tmp_path)


def test_a_search_for_one_image_looks_at_few_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for index in range(30):
        (tmp_path / f"{index}.txt").touch()
    assert not holds_image(tmp_path)
    paint(tmp_path / "deep/1.png", "red")
    assert holds_image(tmp_path)
    assert not holds_image(tmp_path, budget=10)
    (tmp_path / "deep/loop").symlink_to(tmp_path)
    (tmp_path / "deep/1.png").unlink()
    assert not holds_image(tmp_path)
