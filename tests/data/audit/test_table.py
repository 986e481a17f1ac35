"""The table: what is written is read back, and a row that does not fit the data is one line."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cifar100.data.audit.findings import Finding
from cifar100.data.audit.images import AuditedImages
from cifar100.data.audit.table import COLUMNS, check_classes_remain, read_table, rejected_indices, write_table
from cifar100.errors import UserError

FINDINGS = [
    Finding(kind="exact_duplicate", position=2, other=7, score=1),
    Finding(kind="label", position=8, suggested=1, score=0.75),
    Finding(kind="label", position=3, suggested=0, score=0.7),
    Finding(kind="oddity", position=0, score=0.25, reason="too dark"),
]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def edit(path: Path, row: int, **changes: str) -> None:
    content = rows(path)
    content[row] |= changes
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet saves it
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(content)


@pytest.fixture
def table(tmp_path: Path, images: AuditedImages) -> Path:
    write_table(tmp_path / "audit.csv", FINDINGS, images)
    return tmp_path / "audit.csv"


def test_the_table_holds_what_was_found(table: Path) -> None:
    first, second, third, last = rows(table)
    assert tuple(first) == COLUMNS
    assert list(first.values()) == [
        *("exact_duplicate", "train", "2", "'-train/2.png", "'=cat", "test", "1", "test/1.png", "", "1.0000", "")
    ]
    assert (second["split"], second["index"], second["suggested_label"]) == ("test", "2", "<b>dog</b>")
    assert third["suggested_label"] == "'=cat"
    assert last["score"] == "0.2500"


def test_verdicts_are_read_back(table: Path, images: AuditedImages) -> None:
    assert [row.verdict for row in read_table(table, images)] == ["", "", "", ""]
    edit(table, 0, verdict="Reject ")
    edit(table, 1, verdict="reject")
    edit(table, 2, verdict="keep")
    judged = read_table(table, images)
    assert [row.verdict for row in judged] == ["reject", "reject", "keep", ""]
    assert rejected_indices(judged, split="train").tolist() == [2]
    assert rejected_indices(judged, split="test").tolist() == [2]


def test_rows_of_test_images_need_no_list_of_them(table: Path, images: AuditedImages) -> None:
    only_training = replace(images, files=images.files[:6], labels=images.labels[:6])
    edit(table, 1, file="another.png", label="whatever")
    assert len(read_table(table, only_training)) == 4
    edit(table, 1, index="4")
    with pytest.raises(UserError, match=r"line 3: index is '4', expected 0 to 3"):
        read_table(table, only_training)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "duplicate"}, r"line 2: kind is 'duplicate', expected one of exact_duplicate, near_duplicate, label"),
        ({"verdict": "delete"}, r"line 2: verdict is 'delete', expected keep, reject or nothing"),
        ({"split": "validation"}, r"line 2: split is 'validation', expected train or test"),
        ({"index": "6"}, r"line 2: index is '6', expected 0 to 5"),
        ({"index": "-1"}, r"line 2: index is '-1'"),
        ({"index": "2.0"}, r"line 2: index is '2.0'"),
        ({"index": "²"}, r"line 2: index is '²'"),
        ({"index": "3"}, r"line 2: file is .*, expected 'train/3.png', as in the data"),
        ({"file": "train/5.png"}, r"line 2: file is 'train/5.png', expected '-train/2.png'"),
        ({"label": "<b>dog</b>"}, r"line 2: label is '<b>dog</b>', expected '=cat', as in the data"),
        ({"suggested_label": "horse"}, r"line 2: suggested_label is 'horse', expected the name of a class"),
        ({"other_index": "9"}, r"line 2: other_index is '9', expected 0 to 3"),
        ({"other_file": ""}, r"line 2: other_file is '', expected 'test/1.png'"),
        ({"other_split": ""}, r"line 2: other_split is ''"),
    ],
)
def test_a_row_that_does_not_fit_is_one_line(
    changes: dict[str, str], message: str, table: Path, images: AuditedImages
) -> None:
    edit(table, 0, **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_table(table, images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"has no column kind and split"),
        (b"kind;split;index\n", r"has no column file and .*, but it reads: kind;split;index"),
        (b"\xff\xfe\x00", r"is not UTF-8"),
        (",".join(COLUMNS).encode() + b"\nlabel,train\n", r"line 2 has 2 values, expected 11"),
        (",".join(COLUMNS).encode() + b'\n"label', r"line 2 is not valid CSV"),
    ],
)
def test_a_damaged_table_is_one_line(content: bytes, message: str, tmp_path: Path, images: AuditedImages) -> None:
    (tmp_path / "audit.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_table(tmp_path / "audit.csv", images)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_missing_or_no_file_is_one_line(tmp_path: Path, images: AuditedImages) -> None:
    for path in (tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(UserError, match=r"cannot be read"):
            read_table(path, images)


def test_two_verdicts_about_one_image_are_refused(table: Path, images: AuditedImages) -> None:
    content = rows(table)
    edit(table, 0, verdict="reject")
    content = rows(table)
    content.append({**content[0], "verdict": "keep"})
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(content)
    with pytest.raises(UserError, match=r"line 6: verdict is 'keep', but .* line 2 says 'reject' of the same image"):
        read_table(table, images)


def test_a_class_without_images_is_refused(images: AuditedImages) -> None:
    labels = images.labels[: images.info.num_train]
    of_a_class = np.flatnonzero(labels == labels[0])
    check_classes_remain(Path("audit.csv"), of_a_class[1:], labels, images.info)
    with pytest.raises(UserError, match=r"audit.csv rejects all training images of the class .*; keep at least one"):
        check_classes_remain(Path("audit.csv"), of_a_class, labels, images.info)


def test_a_spreadsheet_may_separate_the_columns_by_semicolons(table: Path, images: AuditedImages) -> None:
    edit(table, 0, verdict="reject", score="1,0000")
    content = rows(table)
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=";")
        writer.writeheader()
        writer.writerows(content)
    judged = read_table(table, images)
    assert [row.verdict for row in judged] == ["reject", "", "", ""]
    assert rejected_indices(judged, split="train").tolist() == [2]
