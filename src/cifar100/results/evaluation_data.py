"""The images on which a trained network is measured. No other module opens the test split."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cifar100.data.folder.layout import DataFolder, DatasetInfo, Split
from cifar100.data.folder.splits import load_split
from cifar100.data.prepare import ensure_unchanged
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.foreign_text import printable
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.runs.trained_network import TrainedNetwork
from cifar100.terminal import say


def images_of(
    trained: TrainedNetwork, run: RunFolder, *, split: Literal["test", "validation"], data_root: Path | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], DatasetInfo]:
    """Return images uint8 (N, 3, 32, 32), labels int64 (N,), and the description of the data that hold them.

    Args:
        trained: the network.
        run: its run folder.
        split: `test`, or the run's own `validation` images.
        data_root: see `evaluate`.

    Raises:
        UserError: the data are missing, have other classes, or differ from those of the run without `data_root`.
    """
    if "datamodule" in read_parts(run):
        raise UserError(
            f"{run.path} was trained with a data module from Python, whose images are not in a data folder; measure it "
            "with Trainer.test(ImageClassifier.load_from_checkpoint(...), dataloaders=...)."
        )
    folder = DataFolder(user_path(data_root or trained.config.data.root))
    if not folder.is_sound() and not folder.is_custom():
        raise UserError(_how_to_find(folder, trained, is_chosen=data_root is not None))
    present = ensure_unchanged(folder.root)
    _check_classes(present, trained.info, folder)
    part: Split = "test" if split == "test" else "train"
    if part == "test" and present.num_test == 0:
        raise UserError(
            f"{folder.root} has no test split; list test images in a test.csv, or measure with --split validation."
        )
    difference = _difference(present, trained.info, part)
    if difference and split == "validation":
        raise UserError(
            f"{folder.root} {difference}, among which its validation images cannot be found; measure the test images "
            "with --split test, or give the folder of its own data with --data.root."
        )
    if difference and data_root is None:
        raise UserError(
            f"{folder.root} {difference}; to measure on the images that are there now, run: cifar100 evaluate "
            f"{run.argument} --data.root {quote(str(folder.root))}"
        )
    if difference:
        say(f"{folder.root} {difference}")
    elif part not in trained.info.sha256 and present.sha256.get(part):
        say(f"{folder.root} has got a test split since {run.name} was trained")
    if split == "test":
        return *folder.load("test"), present
    indices = load_split(run.split).validation
    if len(indices) == 0:
        raise UserError(f"{run.path} was trained on all training images; it has no validation images.")
    images, labels = folder.load("train")
    return images[indices], labels[indices], present


def _how_to_find(folder: DataFolder, trained: TrainedNetwork, *, is_chosen: bool) -> str:
    found = f"{folder.root.absolute()} holds no prepared data"
    if is_chosen:
        return f"{found}; give a prepared data folder, or a folder with a train.csv, as --data.root."
    trained_on = f"the run was trained on {trained.info.describe()}"
    if trained.info.origin == "custom":
        return f"{found}; {trained_on}. Give the folder that holds them now with --data.root."
    source = " --source generated" if trained.info.origin == "generated" else ""
    return (
        f"{found}; {trained_on}. Change to the folder where it was trained, give the data folder with --data.root, or "
        f"prepare it again: cifar100 prepare{source} --root {quote(str(folder.root))}"
    )


def _check_classes(present: DatasetInfo, trained: DatasetInfo, folder: DataFolder) -> None:
    """Refuse data of other classes: the network's outputs would mean something else."""
    if present.class_names == trained.class_names:
        return
    ours, theirs = present.class_names, trained.class_names
    if len(ours) != len(theirs):
        difference = f"{len(ours)} classes, expected {len(theirs)}"
    else:
        label = next(label for label in range(len(ours)) if ours[label] != theirs[label])
        difference = f"class {label} is {printable(ours[label])!r}, expected {printable(theirs[label])!r}"
    raise UserError(
        f"{folder.root} holds other classes than the run was trained on ({difference}); give data with the "
        "same classes in the same order."
    )


def _difference(present: DatasetInfo, trained: DatasetInfo, part: Split) -> str:
    """Return how the images of a split differ from those of the run; empty if they are the same or the run had none."""
    if part not in trained.sha256 or present.sha256.get(part) == trained.sha256[part]:
        return ""
    kind = "test" if part == "test" else "training"
    counts = [info.num_test if part == "test" else info.num_train for info in (present, trained)]
    numbers = f"{counts[0]:,} instead of {counts[1]:,}" if counts[0] != counts[1] else f"{counts[0]:,}, as before"
    return f"holds other {kind} images or labels than the run was trained with ({numbers})"
