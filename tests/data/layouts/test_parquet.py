from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from labelled_images import arrays, parquet

from cifar100.data.layouts import parquet as module
from cifar100.data.layouts.parquet import ParquetFiles
from cifar100.errors import UserError


def test_files_of_the_hub_give_splits_and_named_classes(tmp_path: Path) -> None:
    images, labels = arrays(6)
    columns = {"fine_label": labels.tolist(), "coarse_label": [0] * 6}
    names = {"fine_label": ["zebra", "ape"], "coarse_label": ["animals"]}
    for part in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        parquet(tmp_path / f"data/{part}.parquet", images, columns, names=names)
    files = ParquetFiles(tmp_path)
    assert files.counts == {"train": 12, "test": 6}
    assert files.found == "3 parquet files (columns img, fine_label)"
    found = list(files.images("train"))
    assert [(image.label, image.name) for image in found[:2]] == [("0", "zebra"), ("1", "ape")]
    assert {(image.superclass, image.superclass_name) for image in found} == {("0", "animals")}
    assert found[7].place == f"{tmp_path / 'data/train-00001-of-00002.parquet'} row 2"
    assert list(files.images("validation")) == []


def test_files_in_folders_of_splits_are_not_all_training_images(tmp_path: Path) -> None:
    images, labels = arrays(4)
    for place in ("train/0000", "train/0001", "test/0000", "validation.parquet/part-0"):  # as the Hub and Spark do
        parquet(tmp_path / f"default/{place}.parquet", images, {"label": labels.tolist()})
    files = ParquetFiles(tmp_path / "default")
    assert files.counts == {"train": 8, "validation": 4, "test": 4}
    assert [image.place for image in files.images("test")][:1] == [f"{tmp_path / 'default/test/0000.parquet'} row 1"]
    for alone in ("test", "test/0000.parquet"):  # the folder that is passed names no split
        assert ParquetFiles(tmp_path / "default" / alone).counts == {"train": 4}


def test_any_columns_of_images_and_labels_are_found(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"thing": [b"\x89PNG", b"GIF8"], "category": ["b", "a"]}), tmp_path / "x.parquet")
    files = ParquetFiles(tmp_path / "x.parquet")
    assert files.counts == {"train": 2}
    assert [(image.content, image.label, image.name) for image in files.images("train")] == [
        *((b"\x89PNG", "b", ""), (b"GIF8", "a", "")),
    ]


def no_label(path: Path) -> None:
    parquet(path, arrays(2)[0], {"width": [1, 2]})


def no_image(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"label": [0, 1]}), path)


def text(path: Path) -> None:
    path.write_text("no parquet")


def cut_off(path: Path) -> None:
    parquet(path, arrays(2)[0], {"label": [0, 1]})
    path.write_bytes(path.read_bytes()[:-30])


WRONG_FILES = {
    no_label: "has no column of labels; its columns are img, width; expected fine_label, label",
    no_image: "has no column of images; its columns are label; expected img or image",
    text: r"cannot be read as parquet \(.*\); restore or remove it",
    cut_off: "cannot be read as parquet",
}


@pytest.mark.parametrize(("write", "message"), WRONG_FILES.items(), ids=[write.__name__ for write in WRONG_FILES])
def test_a_wrong_file_is_refused_in_one_line(write: object, message: str, tmp_path: Path) -> None:
    write(tmp_path / "x.parquet")  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as caught:
        ParquetFiles(tmp_path / "x.parquet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, None], "row 2: the label is 'None', expected a name or a whole number"),
        ([0, 7], "row 2: the label is 7, expected 0 to 1"),
        ([0.5, 1.0], "row 1: the label is '0.5', expected"),
    ],
)
def test_a_wrong_label_is_named_with_its_row(labels: list[object], message: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", arrays(2)[0], {"label": labels}, names={"label": ["a", "b"]})
    with pytest.raises(UserError, match=message):
        list(ParquetFiles(path).images("train"))


def test_damaged_content_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", arrays(200)[0], {"label": [0, 1] * 100})
    content = bytearray(path.read_bytes())
    content[1000:60000] = np.random.default_rng(0).bytes(59000)
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as parquet"):
        list(ParquetFiles(path).images("train"))


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "x.parquet", arrays(2)[0], {"label": [0, 1]})
    monkeypatch.setattr(module, "MAX_GROUP_BYTES", 100)
    with pytest.raises(UserError, match="has a row group of more than 100 bytes; write it in smaller row groups"):
        ParquetFiles(path)


def test_a_file_without_a_split_beside_others_is_refused(tmp_path: Path) -> None:
    for name in ("train-0", "more"):
        parquet(tmp_path / f"{name}.parquet", arrays(2)[0], {"label": [0, 1]})
    with pytest.raises(UserError, match=r"more\.parquet has no split in its name, but others have"):
        ParquetFiles(tmp_path)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "x.parquet", arrays(2)[0], {"label": [0, 1]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r'not installed; install it: pip install "cifar100\[parquet\]"'):
        ParquetFiles(path)
