"""CSV and JSON of predictions: columns, odd names, and that they can be read back."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from trained_networks import INFO

from cifar100.errors import UserError
from cifar100.results.prediction.stream import ClassProbability, Prediction
from cifar100.results.prediction.writing import check_replaceable, encoded, lines

NAMES = ["a,b.png", 'say "x".png', "two\nlines.png", "=1+1.png", "猫.png", os.fsdecode(b"\xff\xfe.png"), "\x1b[2J.png"]


def classes(superclass: str | None = "first") -> list[ClassProbability]:
    return [
        ClassProbability(name="b", probability=0.75, superclass=superclass),
        ClassProbability(name="a", probability=0.1, superclass=superclass),
    ]


def predictions() -> Iterator[Prediction]:
    every = dict(zip("abcdef", (0.1, 0.75, 0.05, 0.05, 0.05, 1e-9), strict=True))
    for name in NAMES:
        yield Prediction(image=name, classes=classes(), probabilities=every)
    yield Prediction(image="bad.png", classes=[], error="bad.png is damaged.")


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8", errors="surrogateescape"), newline="")))


def test_csv_has_a_row_for_each_image_and_names_survive() -> None:
    content = b"".join(map(encoded, lines(predictions(), "csv", INFO, top=2, probabilities=False)))
    header, *found = rows(content)
    assert ",".join(header) == "image,class,probability,superclass,class_2,probability_2,superclass_2,error"
    assert [row[0] for row in found] == [*NAMES, "bad.png"]
    assert found[0][1:] == ["b", "0.75", "first", "a", "0.1", "first", ""]
    assert found[-1][1:] == ["", "", "", "", "", "", "bad.png is damaged."]
    assert b"\xff\xfe.png" in content


def test_csv_with_the_probability_of_every_class() -> None:
    content = b"".join(map(encoded, lines(predictions(), "csv", INFO, top=1, probabilities=True)))
    header, *found = rows(content)
    assert header == ["image", "class", "probability", "superclass", *(f"p_{name}" for name in "abcdef"), "error"]
    assert [float(value) for value in found[0][4:-1]] == [0.1, 0.75, 0.05, 0.05, 0.05, 1e-9]
    assert {len(row) for row in found} == {len(header)}


def test_csv_has_no_columns_for_what_there_is_not() -> None:
    plain = replace(INFO, superclass_names=(), class_to_superclass=())
    content = b"".join(
        map(
            encoded,
            lines(iter([Prediction(image="x", classes=classes(None))]), "csv", plain, top=99, probabilities=False),
        )
    )
    header, row = rows(content)
    assert header[:5] == ["image", "class", "probability", "class_2", "probability_2"]
    assert header[-3:] == ["class_6", "probability_6", "error"]
    assert row == ["x", "b", "0.75", "a", "0.1", *[""] * 9]


@pytest.mark.parametrize("count", [0, 1, 8])
def test_json_is_an_array_with_an_object_in_each_line(count: int) -> None:
    given = list(predictions())[:count]
    content = b"".join(map(encoded, lines(iter(given), "json", INFO, top=2, probabilities=True)))
    assert len(content.splitlines()) == count + 2
    found = json.loads(content)
    assert [entry["image"] for entry in found] == [prediction.image for prediction in given]
    for entry, prediction in zip(found, given, strict=True):
        assert entry["error"] == prediction.error
        assert entry.get("probabilities") == prediction.probabilities
        assert len(entry["classes"]) == len(prediction.classes)
    if count:
        assert found[0]["classes"][0] == {"name": "b", "probability": 0.75, "superclass": "first"}


def test_lines_come_one_by_one() -> None:
    arrived = []

    def slowly() -> Iterator[Prediction]:
        for prediction in predictions():
            arrived.append(prediction)
            yield prediction

    stream = lines(slowly(), "csv", INFO, top=1, probabilities=False)
    next(stream)
    assert not arrived
    next(stream)
    assert len(arrived) == 1


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_only_earlier_predictions_are_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{kind}"
    check_replaceable(path)
    path.write_bytes(b"".join(map(encoded, lines(predictions(), kind, INFO, top=1, probabilities=False))))  # type: ignore[arg-type]
    check_replaceable(path)
    path.write_text("my own file")
    with pytest.raises(
        UserError, match=rf"out\.{kind} already exists and holds no predictions; choose another --output"
    ):
        check_replaceable(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="already exists and holds no predictions"):
        check_replaceable(path)
