from __future__ import annotations

import os
from pathlib import Path

import pytest

from cifar100.data.folder.csv_labels import count_classes, read_labels, read_rows, records
from cifar100.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three images, whose content does not matter here."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b c.png", "images/d.png"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def write(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / "train.csv"
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def test_every_column_is_read(folder: Path) -> None:
    first, second = read_rows(
        write(
            folder,
            "superclass_name,file,fine_label,extra,fine_name,superclass_label",
            ' fruit ,"b c.png", 12 ,x,"Äpfel, rot",3',
            "",
            ",./images/d.png,0,,,",
        )
    )
    assert (first.file, first.fine_label, first.fine_name) == ("b c.png", 12, "Äpfel, rot")
    assert (first.superclass_label, first.superclass_name) == (3, "fruit")
    assert (second.file, second.fine_label, second.fine_name) == ("images/d.png", 0, "")
    assert (second.superclass_label, second.superclass_name) == (None, "")
    assert second.place == f"{folder / 'train.csv'} line 4"


def test_files_of_spreadsheets_are_read(folder: Path) -> None:
    rows = read_rows(write(folder, "file,fine_label\r", "a.png,0\r", "", encoding="utf-8-sig"))
    assert [(row.file, row.fine_label) for row in rows] == [("a.png", 0)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_are_separated_by_commas_semicolons_or_tabs(separator: str, folder: Path) -> None:
    lines = (separator.join(values) for values in (("file", "fine_label", "fine_name"), ("a.png", "0", "x")))
    rows = read_rows(write(folder, *lines))
    assert [(row.file, row.fine_name) for row in rows] == [("a.png", "x")]


HEADER = "file,fine_label"

WRONG = {
    "empty": ([""], r"has no column file and fine_label; .* it reads: \(nothing\)"),
    "no header": (["a.png,0"], "has no column file and fine_label.* it reads: a.png,0"),
    "missing column": (["file,label", "a.png,0"], "has no column fine_label"),
    "no rows": ([HEADER], "has no rows; expected one row for each image"),
    "ragged row": ([HEADER, "a.png,0", "b c.png,0,1"], "line 3 has 3 values, expected 2"),
    "missing file": ([HEADER, "e.png,0"], r"line 2: .*e\.png does not exist; correct or remove the row"),
    "name too long for the disk": ([HEADER, f"{'e' * 600},0"], "does not exist"),
    "folder": ([HEADER, "images,0"], r"images is not a regular file \(a folder\); correct or remove the row"),
    "file twice": (
        [HEADER, "a.png,0", "./a.png,1"],
        r"line 3: a\.png is listed again, first at .* line 2; list",
    ),
    "outside": ([HEADER, "../a.png,0"], r"file is '\.\./a\.png', expected a path inside the folder of the CSV file"),
    "absolute": ([HEADER, "/a.png,0"], "expected a path inside the folder"),
    "no file": ([HEADER, ",0"], "file is '', expected a path inside the folder"),
    "no label": ([HEADER, "a.png,"], "fine_label is '', expected a whole number of at least 0"),
    "negative label": ([HEADER, "a.png,-1"], "fine_label is '-1', expected a whole number"),
    "fractional label": ([HEADER, "a.png,1.0"], "fine_label is '1.0', expected a whole number"),
    "digits of another script": ([HEADER, "a.png,٣"], "fine_label is '٣', expected a whole number"),
    "enormous label": ([HEADER, "a.png,1000000000"], "fine_label is '1000000000', expected"),
    "superclass": ([f"{HEADER},superclass_label", "a.png,0,x"], "superclass_label is 'x', expected a whole number"),
    "line break": ([HEADER, '"a\n.png",0'], "line 3 holds a line break or another control character"),
    "long value": ([HEADER, f"{'e' * 1001},0"], "line 2 holds a value of more than 1,000 characters"),
    "open quote": ([HEADER, '"a.png,0'], "line 2 is not valid CSV"),
}


@pytest.mark.parametrize(("lines", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_named_with_its_line(lines: list[str], message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_rows(write(folder, *lines))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder / "train.csv"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_an_image_that_is_no_regular_file_is_not_said_to_be_missing(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "device").symlink_to("/dev/null")
    (folder / "loop").symlink_to("loop")
    (folder / "link").symlink_to("away")
    for name, found in (
        ("fifo", r"is not a regular file \(a FIFO\)"),
        ("device", r"is not a regular file \(a device\)"),
        ("loop", r"is not a regular file \(a link that leads to itself\)"),
        ("link", "is a link to away, which does not exist"),
    ):
        with pytest.raises(UserError, match=rf"line 2: .*/{name} {found}; correct or remove the row"):
            read_rows(write(folder, HEADER, f"{name},0"))


def test_a_file_of_another_encoding_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"is not UTF-8 text \(byte 17\); save it as CSV UTF-8"):
        read_rows(write(folder, HEADER, "a\xe4.png,0", encoding="latin1").rename(folder / "test.csv"))


def test_the_byte_of_another_encoding_counts_from_the_beginning_of_the_file(folder: Path) -> None:
    path = write(folder, HEADER, *["a.png,0"] * 5000, "a\xe4.png,0", encoding="latin1")
    byte = path.read_bytes().index(0xE4)
    with pytest.raises(UserError, match=rf"is not UTF-8 text \(byte {byte}\)"):
        list(records(path))


def test_a_missing_csv_file_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(folder / "test.csv")


def test_labels_are_returned_as_an_array(folder: Path) -> None:
    files, labels = read_labels(write(folder, HEADER, "a.png,1", "images/d.png,0", "b c.png,1"))
    assert files == ["a.png", "images/d.png", "b c.png"]
    assert labels.dtype == "int64"
    assert labels.tolist() == [1, 0, 1]


def test_labels_lie_in_the_known_classes(folder: Path) -> None:
    path = write(folder, HEADER, "a.png,0", "images/d.png,3")
    assert read_labels(path, num_classes=4)[1].tolist() == [0, 3]
    with pytest.raises(UserError, match=r"line 3: fine_label is 3, expected 0 to 2, since .* have 3 classes"):
        read_labels(path, num_classes=3)


def test_labels_have_no_gap(folder: Path) -> None:
    path = write(folder, HEADER, "a.png,0", "images/d.png,2")
    with pytest.raises(UserError, match="no row has fine_label 1, but the maximum is 2; number the classes from 0"):
        count_classes(path, read_rows(path))
    with pytest.raises(UserError, match="no row has fine_label 1"):
        read_labels(path)
