from __future__ import annotations

from pathlib import Path

import pytest
from custom_folder import paint

from cifar100.data.layouts.reading import list_folder
from cifar100.data.layouts.tables import find_tables, read_table
from cifar100.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "train/0001.jpg", "train/0002.jpg", "pets/cat 1.png"):
        paint(tmp_path / name, "red")
    return tmp_path


def write(folder: Path, *lines: str, name: str = "train.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes("\n".join(lines).encode(encoding))
    return folder / name


def found(table: Path) -> list[tuple[str, str]]:
    return [(row.file, row.label) for row in read_table(table)]


@pytest.mark.parametrize("file", ["file", "filename", "path", "image", "id", "Image_ID"])
@pytest.mark.parametrize("label", ["label", "class", "target", "fine_label", "Label"])
def test_the_usual_names_of_columns_are_known(file: str, label: str, folder: Path) -> None:
    table = write(folder, f"{label},{file}", "cat,a.png", "dog,b.png")
    assert found(table) == [("a.png", "cat"), ("b.png", "dog")]


def test_a_column_that_names_files_is_preferred_to_an_id(folder: Path) -> None:
    table = write(folder, "id,filename,label,class_name", "7,a.png,1,dog", "8,b.png,0,cat")
    assert found(table) == [("a.png", "1"), ("b.png", "0")]
    assert list_folder(folder).class_names == ("cat", "dog")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_marks_and_line_ends_of_spreadsheets(separator: str, folder: Path) -> None:
    lines = [f"file{separator}label\r", f"a.png{separator}cat\r", f"b.png{separator}dog\r", ""]
    assert found(write(folder, *lines, encoding="utf-8-sig")) == [("a.png", "cat"), ("b.png", "dog")]


def test_paths_of_windows_and_ids_without_extension(folder: Path) -> None:
    table = write(folder, "id,label", r"pets\cat 1.png,cat", "0001,dog", "0002,dog", r".\a.png,cat", "b,cat")
    assert [file for file, _ in found(table)] == [
        *("pets/cat 1.png", "train/0001.jpg", "train/0002.jpg", "a.png", "b.png"),
    ]


NUMBERINGS = {
    "from 1": (["1", "2"], ("1", "2"), [0, 1]),
    "gaps": (["30", "7"], ("7", "30"), [1, 0]),
    "negative": (["1", "-1"], ("-1", "1"), [1, 0]),
    "as numbers": (["10", "9"], ("9", "10"), [1, 0]),
    "leading zeros": (["010", "9"], ("9", "010"), [1, 0]),
    "names": (["img10", "img2"], ("img2", "img10"), [1, 0]),
}


@pytest.mark.parametrize(("labels", "names", "expected"), NUMBERINGS.values(), ids=NUMBERINGS.keys())
def test_any_numbering_and_names_become_classes_in_order(
    labels: list[str], names: tuple[str, ...], expected: list[int], folder: Path
) -> None:
    write(folder, "file,label", f"a.png,{labels[0]}", f"b.png,{labels[1]}")
    listing = list_folder(folder)
    assert (listing.class_names, listing.labels("train").tolist()) == (names, expected)


def test_superclasses_may_be_names(folder: Path) -> None:
    write(folder, "file,fine_label,coarse_label", "a.png,cat,pets", "b.png,trout,fish")
    listing = list_folder(folder)
    assert (listing.superclass_names, listing.class_to_superclass) == (("fish", "pets"), (1, 0))


def test_each_split_has_its_table(folder: Path) -> None:
    write(folder, "file,label", "a.png,cat", "b.png,dog", name="labels.csv")
    write(folder, "file\tlabel", "0001\tcat", name="valid.tsv")
    assert find_tables(folder) == {"train": "labels.csv", "validation": "valid.tsv"}
    listing = list_folder(folder)
    assert (listing.files("train"), listing.num_validation) == (["a.png", "b.png", "train/0001.jpg"], 1)
    write(folder, "file,label", "0001,cat", name="val.csv")
    with pytest.raises(UserError, match=r"holds val\.csv and valid.tsv; keep one of them"):
        list_folder(folder)


WRONG = {
    "no label": (
        ["file,width", "a.png,3"],
        r"has no column of labels; its first line names file, width, expected one of fine_label, label, class",
    ),
    "no file": (["label", "cat"], r"has no column of image files; .* expected one of file, filename"),
    "nothing": ([""], "has no rows"),
    "header only": (["file,label"], "has no rows; expected one row for each image"),
    "empty label": (["file,label", "a.png,"], "line 2: label is empty, expected the class"),
    "empty file": (["file,label", ",cat"], "line 2: file is empty, expected an image file"),
    "missing": (["file,label", "c.png,cat"], r"line 2: .*c\.png does not exist"),
    "outside": (["file,label", r"..\a.png,cat"], "expected a path inside the folder"),
    "absolute": (["file,label", "/a.png,cat"], "expected a path inside the folder"),
    "drive": (["file,label", r"C:\data\a.png,cat"], "expected a path inside the folder"),
    "twice": (["file,label", "a.png,cat", "a,dog"], r"line 3: a\.png is listed again, first at .* line 2"),
    "two files": (["file,label", "both,cat"], r"'both' fits both\.jpg and both\.png; add the extension"),
}


@pytest.mark.parametrize(("lines", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_named_with_its_line(lines: list[str], message: str, folder: Path) -> None:
    for name in ("both.jpg", "both.png"):
        paint(folder / name, "red")
    with pytest.raises(UserError, match=message) as caught:
        read_table(write(folder, *lines))
    assert "\n" not in str(caught.value)
