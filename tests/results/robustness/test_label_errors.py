"""Accuracy with corrected labels: a worked example, a loop over the images, and damaged lists."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from list_files import entry, errors_text, list_file

from cifar100.errors import UserError
from cifar100.results.measures import fraction
from cifar100.results.robustness.label_errors import measure_label_errors, read_label_errors

LABELS = np.arange(8) % 4


def test_a_worked_example() -> None:
    source = list_file(
        errors_text(
            entry(0, 0, 1, (3, 2, 0, 0)),  # the given label is confirmed
            entry(1, 1, 2, (2, 3, 0, 0)),  # the guess
            entry(2, 2, 3, (0, 1, 1, 3)),  # both
            entry(3, 3, 0, (1, 1, 3, 0)),  # neither
            entry(4, 0, 1, (2, 2, 1, 0)),  # no majority
            entry(5, 1, 3, (0, 5, 0, 0)),  # the guess
        )
    )
    errors = read_label_errors(source, LABELS, num_classes=4)
    assert errors.indices.tolist() == [1, 2, 3, 4, 5]
    assert [np.flatnonzero(row).tolist() for row in errors.corrected] == [[2], [2, 3], [], [], [3]]
    predicted = np.array([0, 2, 2, 3, 0, 1, 2, 0])  # right as given: 0, 2, 3, 4, 5, 6
    figures = measure_label_errors(predicted, LABELS, errors, source=source)
    assert figures.without_errors == fraction(2, 3)  # 0, 6 of 0, 6, 7
    assert figures.corrected == fraction(4, 6)  # 0, 1, 2, 6 of 0, 1, 2, 5, 6, 7
    counts = (figures.num_errors, figures.num_corrected, figures.num_either, figures.num_left_out)
    assert counts == (5, 2, 1, 2)
    predicted[2] = 3  # the other of both
    assert measure_label_errors(predicted, LABELS, errors, source=source).corrected == fraction(4, 6)


def test_the_figures_are_those_of_a_loop_over_the_images() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 5, (2, 400))
    entries = []
    for image in rng.permutation(400)[:150].tolist():
        votes = np.bincount(rng.integers(0, 4, 5), minlength=4) if rng.random() < 0.7 else [0, 0, 0, 5]
        guess = (labels[image] + rng.integers(1, 5)) % 5
        entries.append(entry(image, int(labels[image]), int(guess), tuple(int(vote) for vote in votes)))
    source = list_file(errors_text(*entries))
    figures = measure_label_errors(predicted, labels, read_label_errors(source, labels, num_classes=5), source=source)
    wrong = {one["id"]: one for one in entries if one["mturk"]["given"] < 3}
    num_right = num_counted = num_right_rest = 0
    for image in range(400):
        accepted = {labels[image]}
        if image in wrong:
            votes, guess = wrong[image]["mturk"], wrong[image]["our_guessed_label"]
            accepted = {guess} if votes["guessed"] >= 3 else {labels[image], guess} if votes["both"] >= 3 else set()
        else:
            num_right_rest += predicted[image] == labels[image]
        num_counted += bool(accepted)
        num_right += predicted[image] in accepted
    assert figures.corrected == fraction(int(num_right), num_counted)
    assert figures.without_errors == fraction(int(num_right_rest), 400 - len(wrong))
    assert figures.num_errors == len(wrong) == figures.num_corrected + figures.num_either + figures.num_left_out


def test_a_list_that_confirms_every_label_changes_nothing() -> None:
    source = list_file(errors_text(entry(0, 0, 1, (5, 0, 0, 0))))
    errors = read_label_errors(source, LABELS, num_classes=4)
    figures = measure_label_errors(LABELS, LABELS, errors, source=source)
    assert figures.without_errors == figures.corrected == fraction(8, 8)


def changed(**values: Any) -> str:
    return errors_text(entry(1, 1, 2, (2, 3, 0, 0)) | values)


VOTES = {"given": 2, "guessed": 3, "neither": 0, "both": 0}

DAMAGED = {
    "": "is not a list of label errors (Expecting value",
    "<html></html>": "is not a list of label errors (Expecting value",
    "[" * 100_000: "is not a list of label errors (",
    "{}": "it is a dict, expected a list",
    "[]": "is an empty list",
    "[1]": "it[0] is 1, expected a mapping",
    json.dumps([{"id": 1}]): "it[0] has no 'given_original_label'",
    changed(id=8): "it[0].id is 8, expected a whole number from 0 to 7",
    changed(id=-1): "it[0].id is -1",
    changed(id=1.0): "it[0].id is 1.0",
    changed(id=True): "it[0].id is True",
    changed(our_guessed_label=4): "it[0].our_guessed_label is 4, expected a whole number from 0 to 3",
    changed(our_guessed_label=float("nan")): "it[0].our_guessed_label is None",
    changed(our_guessed_label="2"): "it[0].our_guessed_label is the text '2'",
    changed(our_guessed_label=1): "entry 0 guesses the given label 1",
    changed(given_original_label=3): "entry 0 says that image 1 has label 3, but it has 1",
    changed(mturk=VOTES | {"guessed": 2}): "entry 0 has 4 votes, expected 5",
    changed(mturk=VOTES | {"guessed": 6}): "it[0].mturk.guessed is 6",
    changed(mturk={"given": 5}): "it[0].mturk has no 'guessed'",
    errors_text(*[entry(1, 1, 2, (2, 3, 0, 0))] * 2): "entry 1 names image 1 again",
    errors_text(*(entry(i, i % 4, (i + 1) % 4, (0, 5, 0, 0)) for i in range(8))): "finds every label wrong",
}


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_list_is_one_clear_line(text: str) -> None:
    with pytest.raises(UserError, match=re.escape(DAMAGED[text])) as caught:
        read_label_errors(list_file(text), LABELS, num_classes=4)
    assert str(caught.value).startswith("list")
    assert str(caught.value).isprintable()


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UserError, match="list is not a list of label errors"):
        read_label_errors(list_file(b"\x89PNG\r\n\x1a\n\xff"), LABELS, num_classes=4)
