"""Accuracy without the test images whose label people have found wrong, and with their labels corrected.

Northcutt, Athalye and Mueller, "Pervasive label errors in test sets destabilize machine learning benchmarks", NeurIPS
2021. Five people compared the given label of each doubtful image with the guess of a network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.sources.published_lists import ListFile
from cifar100.errors import UserError
from cifar100.files import schema
from cifar100.files.schema import list_of, whole
from cifar100.foreign_text import reason
from cifar100.results.measures import Estimate, fraction

NUM_VOTES = 5
MAJORITY = 3
"""Votes that confirm a label. The given label is an error if it has fewer."""


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """The confirmed label errors of a test split."""

    indices: NDArray[np.int64]
    """(E,): the images whose given label is wrong, in the order of the list."""

    corrected: NDArray[np.bool_]
    """(E, num_classes): the right labels of each. One if people chose the guess, two if both, none if they disagree."""


@dataclass(frozen=True, kw_only=True)
class LabelErrorFigures:
    """Top-1 accuracy without the confirmed label errors, and with them corrected."""

    list: str
    """The published list, or the path of a custom one."""

    list_sha256: str

    without_errors: Estimate
    """Without the images whose label is wrong."""

    corrected: Estimate
    """With corrected labels; without the images on whose label people disagree."""

    num_errors: int
    """Images whose given label has fewer than three of five votes."""

    num_corrected: int
    """Of these, images whose guessed label has at least three votes."""

    num_either: int
    """Of these, images to which both labels apply, according to at least three people. Either counts as right."""

    num_left_out: int
    """Of these, the others."""


def measure_label_errors(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], errors: LabelErrors, *, source: ListFile
) -> LabelErrorFigures:
    """Return the figures of predicted labels, int64 (N,), against labels, int64 (N,)."""
    correct = predicted == labels
    is_error = np.zeros(len(labels), dtype=np.bool_)
    is_error[errors.indices] = True
    num_right = int(correct[~is_error].sum())
    num_labels = errors.corrected.sum(axis=1)
    is_known = num_labels > 0
    right_ones = errors.corrected[np.arange(len(errors.indices)), predicted[errors.indices]]
    num_rest = int((~is_error).sum())
    return LabelErrorFigures(
        list=source.title,
        list_sha256=source.sha256,
        without_errors=fraction(num_right, num_rest),
        corrected=fraction(num_right + int(right_ones.sum()), num_rest + int(is_known.sum())),
        num_errors=len(errors.indices),
        num_corrected=int((num_labels == 1).sum()),
        num_either=int((num_labels == 2).sum()),
        num_left_out=int((num_labels == 0).sum()),
    )


def read_label_errors(source: ListFile, labels: NDArray[np.int64], *, num_classes: int) -> LabelErrors:
    """Return the confirmed errors among the images with these labels, int64 (N,).

    Raises:
        UserError: the list is damaged, of another form, or of other data. The message names the entry.
    """
    entries = _entries(source, len(labels), num_classes)
    seen: set[int] = set()
    for position, entry in enumerate(entries):
        place, image, given = f"{source.place}: entry {position}", entry["id"], entry["given_original_label"]
        if image in seen:
            raise UserError(f"{place} names image {image} again; list each image once.")
        seen.add(image)
        if labels[image] != given:
            raise UserError(
                f"{place} says that image {image} has label {given}, but it has {labels[image]}; use the list of these "
                "data, in their order."
            )
        if given == entry["our_guessed_label"]:
            raise UserError(f"{place} guesses the given label {given}, expected another one.")
        if sum(entry["mturk"].values()) != NUM_VOTES:
            raise UserError(f"{place} has {sum(entry['mturk'].values())} votes, expected {NUM_VOTES}.")
    errors = [entry for entry in entries if entry["mturk"]["given"] < MAJORITY]
    if len(errors) == len(labels):
        raise UserError(f"{source.place} finds every label wrong; expected a list of label errors.")
    corrected = np.zeros((len(errors), num_classes), dtype=np.bool_)
    for row, entry in zip(corrected, errors, strict=True):
        row[_right_labels(entry)] = True
    return LabelErrors(indices=np.array([entry["id"] for entry in errors], dtype=np.int64), corrected=corrected)


def _right_labels(entry: dict[str, Any]) -> list[int]:
    """Return the labels of an error that a majority finds right."""
    if entry["mturk"]["guessed"] >= MAJORITY:
        return [entry["our_guessed_label"]]
    if entry["mturk"]["both"] >= MAJORITY:
        return [entry["given_original_label"], entry["our_guessed_label"]]
    return []


def _entries(source: ListFile, num_images: int, num_classes: int) -> list[dict[str, Any]]:
    """Return the entries of the list, each of the right form."""
    label, votes = whole(0, num_classes - 1), whole(0, NUM_VOTES)
    form = list_of(
        schema.fields(
            {
                "id": whole(0, num_images - 1),
                "given_original_label": label,
                "our_guessed_label": label,
                "mturk": schema.fields(dict.fromkeys(("given", "guessed", "neither", "both"), votes)),
            }
        )
    )
    try:
        entries: list[dict[str, Any]] = json.loads(source.content, parse_constant=lambda name: None)
        form(entries, "it")
    except (ValueError, RecursionError) as error:  # of json, of a text that is not UTF-8, or of the schema
        raise UserError(
            f"{source.place} is not a list of label errors ({reason(error)}); expected the form of cleanlab's "
            "cifar100_mturk.json."
        ) from error
    if not entries:
        raise UserError(f"{source.place} is an empty list; expected an entry for each doubtful image.")
    return entries
