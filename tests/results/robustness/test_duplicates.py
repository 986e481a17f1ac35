"""Accuracy without near-duplicates: a worked example, a comparison with pandas-free loops, and damaged lists."""

from __future__ import annotations

import re

import numpy as np
import pytest
from list_files import HEADER, duplicates_text, list_file

from cifar100.errors import UserError
from cifar100.results.measures import fraction
from cifar100.results.robustness.duplicates import measure_duplicates, read_duplicates


def test_a_worked_example() -> None:
    source = list_file(duplicates_text((1, 7, 0.0, 0), (2, 0, 0.25, 1), (4, 3, "0.5", 2), (5, 3, 0.6, 2)))
    judgments = read_duplicates(source, num_train=8, num_test=8)
    assert judgments.tolist() == [-1, 0, 1, -1, 2, 2, -1, -1]
    labels = np.arange(8)
    predicted = np.array([0, 1, 0, 3, 4, 0, 0, 0])  # right: 0, 1, 3, 4
    figures = measure_duplicates(predicted, labels, judgments, source=source)
    assert figures.without_duplicates == fraction(2, 4)  # 0, 3, 6, 7
    assert figures.without_exact_and_near == fraction(3, 6)  # and 4, 5
    assert figures.only_duplicates == fraction(2, 4)  # 1, 2, 4, 5
    assert figures.by_judgment == {"exact": fraction(1, 1), "near": fraction(0, 1), "similar": fraction(1, 2)}
    assert (figures.list, figures.list_sha256) == ("list", source.sha256)


def test_the_figures_are_those_of_a_loop_over_the_images() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, (2, 300))
    listed = rng.permutation(300)[:40].tolist()
    rows = [(image, int(rng.integers(900)), 0.5, int(rng.integers(3))) for image in listed]
    source = list_file(duplicates_text(*rows))
    figures = measure_duplicates(predicted, labels, read_duplicates(source, num_train=900, num_test=300), source=source)
    rest = [image for image in range(300) if image not in listed]
    assert figures.without_duplicates == fraction(sum(int(predicted[i] == labels[i]) for i in rest), 260)
    assert figures.only_duplicates == fraction(sum(int(predicted[i] == labels[i]) for i in listed), 40)
    assert sum(estimate.num_images for estimate in figures.by_judgment.values()) == 40


def test_a_judgment_without_images_is_left_out() -> None:
    source = list_file(duplicates_text((0, 0, 0.1, 1)))
    figures = measure_duplicates(
        np.zeros(3, int), np.zeros(3, int), read_duplicates(source, num_train=1, num_test=3), source=source
    )
    assert list(figures.by_judgment) == ["near"]


def test_a_spreadsheets_byte_order_mark_and_order_of_columns_are_read() -> None:
    source = list_file("\ufeffJudgment,TestID,TrainID,Distance\n\n2,1,0,0.3\n\n".encode())
    assert read_duplicates(source, num_train=1, num_test=2).tolist() == [-1, 2]


DAMAGED = {
    "": "begins with (nothing), expected the columns TestID",
    "<!DOCTYPE html>\n<html>\n</html>": "begins with <!DOCTYPE html>, expected the columns",
    "TestID,TrainID,Judgment\n0,0,0\n": "begins with TestID,TrainID,Judgment, expected",
    "TestID,TestID,Distance,Judgment\n0,0,0,0\n": "expected the columns",
    HEADER: "has no rows",
    f"{HEADER}\n0,0,0.5\n": "line 2 has 3 values, expected 4",
    f"{HEADER}\n0,0,0.5,1,1\n": "line 2 has 5 values, expected 4",
    f"{HEADER}\n10,0,0.5,1\n": "line 2: TestID is '10', expected a whole number from 0 to 9",
    f"{HEADER}\n-1,0,0.5,1\n": "line 2: TestID is '-1'",
    f"{HEADER}\n1.0,0,0.5,1\n": "line 2: TestID is '1.0'",
    f"{HEADER}\nnan,0,0.5,1\n": "line 2: TestID is 'nan'",
    f"{HEADER}\n\u0661,0,0.5,1\n": "line 2: TestID is",
    f"{HEADER}\n0,20,0.5,1\n": "line 2: TrainID is '20', expected a whole number from 0 to 19",
    f"{HEADER}\n0,0,NaN,1\n": "line 2: Distance is 'NaN', expected a number of at least 0",
    f"{HEADER}\n0,0,inf,1\n": "line 2: Distance is 'inf'",
    f"{HEADER}\n0,0,,1\n": "line 2: Distance is ''",
    f"{HEADER}\n0,0,0.5,3\n": "line 2: Judgment is '3', expected a whole number from 0 to 2",
    f"{HEADER}\n0,0,0.5,\n": "line 2: Judgment is ''",
    f"{HEADER}\n3,0,0.5,1\n4,0,0.5,1\n3,1,0.6,2\n": "line 4: TestID 3 is listed again",
    f'{HEADER}\n"0,0,0.5,1\n': "is not valid CSV",
    f"{HEADER}\n" + "".join(f"{image},0,0.5,1\n" for image in range(10)): "lists all 10 test images",
    f"{HEADER}\n\x1b[2J,0,0.5,1\n": r"line 2: TestID is '\\x1b[2J'",
}


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_list_is_one_clear_line(text: str) -> None:
    with pytest.raises(UserError, match=re.escape(DAMAGED[text])) as caught:
        read_duplicates(list_file(text), num_train=20, num_test=10)
    assert str(caught.value).startswith("list ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", "TestID".encode("utf-16")])
def test_what_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match=r"list is not UTF-8 text \(byte 0\)"):
        read_duplicates(list_file(content), num_train=20, num_test=10)
