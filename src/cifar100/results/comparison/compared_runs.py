"""Read what is compared: saved evaluations of several runs on the same images. Needs no network and no images."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import read_info
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.results.comparison.variants import effective_settings
from cifar100.results.saved_evaluation import SavedEvaluation, load_evaluation
from cifar100.runs.advice import how_to_evaluate
from cifar100.runs.combined import Combined, read_combined
from cifar100.runs.folder import BEST, RunFolder, read_parts
from cifar100.runs.history import best_epoch, read_epochs
from cifar100.runs.status import FINISHED, read_status
from cifar100.terminal import warn

Split = Literal["test", "validation"]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run and what `evaluate` has saved of it."""

    run: RunFolder
    saved: SavedEvaluation
    class_names: tuple[str, ...]

    settings: dict[str, Any]
    """See `effective_settings`."""

    combined: Combined | None
    """What it was combined from; None if it was trained."""

    seconds: float | None
    """Training time, the sum of its epochs, or of its members; None if it is unknown."""

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether each image is recognised, (N,)."""
        right: NDArray[np.bool_] = self.saved.predicted == self.saved.labels
        return right


def read_compared_runs(runs: Sequence[RunFolder], *, split: Split) -> list[ComparedRun]:
    """Read the runs, and check that they were measured on the same images.

    Raises:
        UserError: there are fewer than two, one is given twice, has not been evaluated or is damaged, or the images
            differ.
    """
    _check_distinct(runs)
    evaluations = [load_evaluation(run, split) for run in runs]
    missing = [run for run, saved in zip(runs, evaluations, strict=True) if saved is None]
    if missing:
        _refuse_missing(missing, split)
    found = [
        ComparedRun(
            run=run,
            saved=saved,
            class_names=_class_names(run, saved),
            settings=effective_settings(run),
            combined=read_combined(run),
            seconds=training_seconds(run),
        )
        for run, saved in zip(runs, evaluations, strict=True)
        if saved is not None
    ]
    for other in found[1:]:
        _check_same_images(found[0], other, split)
    for each in found:
        _warn_of_earlier_weights(each, split)
    return found


def _check_distinct(runs: Sequence[RunFolder]) -> None:
    if len(runs) < 2:
        given = f"only {runs[0].argument} is given" if runs else "no run is given"
        raise UserError(f"{given}, but a comparison needs at least two runs: cifar100 compare RUN RUN...")
    seen: set[Path] = set()
    for run in runs:
        if run.path.resolve() in seen:
            raise UserError(f"{run.argument} is given twice; pass different runs.")
        seen.add(run.path.resolve())


def _refuse_missing(runs: Sequence[RunFolder], split: Split) -> None:
    """Say how to evaluate the runs that have not been, or that they have no such images."""
    option = "" if split == "test" else f" --split {split}"
    for run in runs:
        combined = read_combined(run)
        if combined is not None and combined.kind == "ensemble":
            raise UserError(
                f"the ensemble {run.argument} was not evaluated on the {split} images yet; run: cifar100 evaluate "
                f"{combined.arguments} --ensemble --experiment {shlex.quote(run.name)}{option}"
            )
        _check_has_images(run, split)
    custom = next((run for run in runs if "network" in read_parts(run)), None)
    how = " && ".join(f"cifar100 evaluate {run.argument}{option}" for run in runs)
    if custom is not None:  # the command line cannot rebuild its network
        how = f"evaluate({custom.path.as_posix()!r}, split={split!r}, network=...) in Python"
    names = ", ".join(run.argument for run in runs)
    raise UserError(f"not evaluated on the {split} images yet: {names}; run first: {how}")


def _check_has_images(run: RunFolder, split: Split) -> None:
    other = "validation" if split == "test" else "test"
    if split == "test" and read_info(run.dataset_info).num_test == 0:
        raise UserError(
            f"the data of {run.argument} have no test images; compare the runs with --split {other}, or list test "
            "images in a test.csv and evaluate it on them."
        )
    if split == "validation" and "datamodule" not in read_parts(run) and not len(load_split(run.split).validation):
        raise UserError(
            f"{run.argument} was trained on all training images and has no validation images; compare the runs with "
            f"--split {other}."
        )


def _check_same_images(one: ComparedRun, other: ComparedRun, split: Split) -> None:
    first, second = one.saved.content, other.saved.content
    are_equal = first["images_sha256"] == second["images_sha256"]
    if are_equal and np.array_equal(one.saved.labels, other.saved.labels):
        return
    what = [f"{content['num_images']:,} of {_data(content)}" for content in (first, second)]
    how = "evaluate them on the same data: cifar100 evaluate RUN --data.root FOLDER"
    if split == "validation":
        how = (
            "compare them on the test images, or train them with the same data.validation_fraction and data.split_seed"
        )
    difference = f"{what[0]} and {what[1]}" if what[0] != what[1] else f"{what[0]} each, but not the same"
    raise UserError(
        f"{one.run.argument} and {other.run.argument} were evaluated on different {split} images ({difference}), so "
        f"their figures cannot be compared; {how}."
    )


def _warn_of_earlier_weights(compared: ComparedRun, split: Split) -> None:
    """Say if the best epoch is another one than that which was measured, as after a longer training."""
    run, content = compared.run, compared.saved.content
    if not content.get("checkpoint", "").endswith(BEST) or read_status(run).get("status") != FINISHED:
        return
    with suppress(UserError):  # damaged metrics; another line says so
        best = best_epoch(read_epochs(run.metrics))
        if best is not None and round(best["epoch"]) != content["epoch"]:
            warn(
                f"{run.argument} was measured with its weights of epoch {content['epoch']}, but its best epoch is "
                f"{best['epoch']:.0f} now; measure again: {how_to_evaluate(run, split=split)}"
            )


def _class_names(run: RunFolder, saved: SavedEvaluation) -> tuple[str, ...]:
    names = read_info(run.dataset_info).class_names
    if len(names) != saved.logits.shape[1]:
        raise UserError(
            f"{run.dataset_info} lists {len(names):,} classes, but the run was evaluated with "
            f"{saved.logits.shape[1]:,}; restore the file."
        )
    return names


def _data(content: dict[str, Any]) -> str:
    return printable(content.get("data", "unknown data"), max_length=80)


def training_seconds(run: RunFolder) -> float | None:
    """Return the training time of a run, or of all members; None if it is unknown, which a line says."""
    combined = read_combined(run)
    if combined is not None:
        return combined.training_seconds
    try:
        seconds = sum(epoch.get("seconds", math.nan) for epoch in read_epochs(run.metrics))
    except UserError as error:  # the comparison itself does not need it
        warn(f"{str(error).rstrip('.')}. The training time of {shlex.quote(run.name)} is not shown.")
        return None
    return seconds if math.isfinite(seconds) else None
