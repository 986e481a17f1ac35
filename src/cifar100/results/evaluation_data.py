"""The images on which a trained network is measured. No other module opens the test split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cifar100.config import Config
from cifar100.data.audit.images import AuditedImages, JoinedImages, image_files
from cifar100.data.dataset_info import IMAGE_SIDE, DatasetInfo, read_info
from cifar100.data.folder.layout import DataFolder, Split
from cifar100.data.folder.ownership import check_kinds, check_ours
from cifar100.data.folder.splits import load_split
from cifar100.data.prepare import ensure_unchanged, refuse_moved
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument, user_path
from cifar100.foreign_text import printable
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.settings import load_complete_config
from cifar100.terminal import say

_HOW_TO_ADD_TEST_IMAGES = "add folders test/CLASS or list test images in a test.csv"


class Training(Protocol):
    """What was trained, without its weights. A `TrainedNetwork` is one."""

    @property
    def config(self) -> Config:
        """All settings."""

    @property
    def info(self) -> DatasetInfo:
        """The data."""


@dataclass(frozen=True)
class _Recorded:
    config: Config
    info: DatasetInfo


def recorded_training(run: RunFolder) -> Training:
    """Return what a run folder says of its training; the network, which may be a custom one, is not needed.

    Raises:
        UserError: a file of the run is missing or damaged.
    """
    return _Recorded(load_complete_config(run.config), read_info(run.dataset_info))


def images_of(
    trained: Training,
    run: RunFolder,
    *,
    split: Literal["test", "validation", "train"],
    data_root: Path | None = None,
    most: int | None = None,
    instead: str = "",
) -> tuple[NDArray[np.uint8], NDArray[np.int64], DatasetInfo]:
    """Return images uint8 (N, 3, S, S), labels int64 (N,), and the description of the data that hold them.

    Args:
        trained: the network, or what is known of it.
        run: its run folder.
        split: `test`, or the run's own `validation` images, or the others of its training images: `train`.
        data_root: see `evaluate`.
        most: maximum number of images; of more, as many random ones, always the same, are returned. None: all.
        instead: end of the message if the run has no validation images; the default is to measure the test images.

    Raises:
        UserError: the data are missing, have other classes, or differ from those of the run without `data_root`.
    """
    if "datamodule" in read_parts(run):
        raise UserError(
            f"{run.path} was trained with a data module from Python, whose images are not in a data folder; measure it "
            "with Trainer.test(ImageClassifier.load_from_checkpoint(...), dataloaders=...)."
        )
    folder = DataFolder(user_path(data_root or trained.config.data.root), trained.info.image_size)
    if not folder.is_sound() and not folder.is_custom():
        check_kinds(folder.root)
        raise UserError(_how_to_find(folder, trained, is_chosen=data_root is not None))
    present = ensure_unchanged(folder.root, image_size=folder.image_size)
    _check_classes(present, trained.info, folder)
    part: Split = "test" if split == "test" else "train"
    if part == "test" and present.num_test == 0:
        instead = ", or measure with --split validation"
        if not _has_validation_images(run):
            instead = ", or train with --data.validation_fraction 0.1 and measure with --split validation"
        elif _difference(present, trained.info, "train"):
            instead = ""
        raise UserError(f"{folder.root} has no test split; {_HOW_TO_ADD_TEST_IMAGES}{instead}.")
    difference = _difference(present, trained.info, part)
    if difference and split != "test":
        raise UserError(
            f"{folder.root} {difference}, among which its {_SHOWN[split]} images cannot be found; "
            + _how_to_measure_instead(run, folder, present, trained.info, is_chosen=data_root is not None)
        )
    if difference and data_root is None:
        raise UserError(
            f"{folder.root} {difference}; to measure on the images that are there now, run: "
            f"{_command(run, folder.root)}"
        )
    if difference:
        say(f"{folder.root} {difference}")
    elif part not in trained.info.sha256 and present.sha256.get(part):
        say(f"{folder.root} has gained a test split since {run.name} was trained")
    if split == "test":
        return *folder.load("test"), present
    indices = getattr(load_split(run.split), split)
    if len(indices) == 0:
        measure_test = "; measure the test images with --split test" if present.num_test else ""
        raise UserError(
            f"{run.path} was trained on all training images; it has no validation images{instead or measure_test}."
        )
    if most is not None and most < len(indices):
        indices = np.random.Generator(np.random.PCG64(0)).permutation(indices)[:most]
    images, labels = folder.load("train")
    return images[indices], labels[indices], present


def every_image(root: Path, *, image_size: int = IMAGE_SIDE) -> AuditedImages:
    """Return all training and test images of a prepared data folder; custom data that have changed are prepared again.

    image_size: side in pixels of custom images.

    Raises:
        UserError: the data are missing or damaged.
    """
    folder = DataFolder(user_path(root), image_size)
    if not folder.is_sound() and not folder.is_custom():
        check_kinds(folder.root)
        raise UserError(
            f"{folder.describe_absence()}; pass the data folder, or prepare it: cifar100 prepare --root "
            f"{as_argument(folder.root)}"
        )
    info = ensure_unchanged(folder.root, image_size=folder.image_size)
    splits: list[Split] = ["train", "test"] if info.num_test else ["train"]
    labels = {split: folder.load_labels(split) for split in splits}
    return AuditedImages(
        info=info,
        pixels=JoinedImages(*(folder.map_images(split) for split in splits)),
        labels=np.concatenate(list(labels.values())),
        files=[file for split in splits for file in image_files(folder, labels[split], split=split)],
    )


def check_same_training_images(trained: Training, run: RunFolder, present: DatasetInfo) -> None:
    """Refuse a run whose split does not say which of the present images it has seen.

    Raises:
        UserError: it was trained on other images, or with a custom data module.
    """
    if "datamodule" in read_parts(run):
        raise UserError(
            f"{run.path} was trained with a data module from Python, so it is unknown which images it has seen; "
            "choose another run."
        )
    same_classes = present.class_names == trained.info.class_names
    if not same_classes or present.sha256.get("train") != trained.info.sha256.get("train"):
        raise UserError(
            f"{run.path} was trained on other training images or labels ({trained.info.describe()}) than those to be "
            f"audited ({present.describe()}); use the data folder of the run, or a run trained on these data."
        )


def all_test_images(root: Path, trained_on: DatasetInfo) -> tuple[NDArray[np.uint8], NDArray[np.int64], DatasetInfo]:
    """Return the test images and labels of a data folder, and its description, for a network without its run.

    A line says what differs from the data that it was trained on.

    Raises:
        UserError: the data are missing, have no test images, or have other classes.
    """
    folder = DataFolder(root, trained_on.image_size)
    if not folder.is_sound() and not folder.is_custom():
        check_kinds(folder.root)
        raise UserError(f"{folder.describe_absence()}; set --data.root to a data folder with the same classes.")
    present = ensure_unchanged(folder.root, image_size=folder.image_size)
    _check_classes(present, trained_on, folder)
    if present.num_test == 0:
        raise UserError(f"{folder.root} has no test split; {_HOW_TO_ADD_TEST_IMAGES}.")
    if difference := _difference(present, trained_on, "test"):
        say(f"{folder.root} {difference}")
    return *folder.load("test"), present


_SHOWN = {"validation": "validation", "train": "training"}


def _has_validation_images(run: RunFolder) -> bool:
    try:
        return len(load_split(run.split).validation) > 0
    except UserError:  # a missing or damaged split has none to measure
        return False


def _how_to_measure_instead(
    run: RunFolder, folder: DataFolder, present: DatasetInfo, trained: DatasetInfo, *, is_chosen: bool
) -> str:
    """Return what to do if the validation images of a run are not in the folder."""
    advice = ["restore them"]
    if not is_chosen:
        advice.append("set --data.root to a folder that holds them")
    if present.num_test:
        needs_root = is_chosen or _difference(present, trained, "test")
        advice.append(f"measure the test images: {_command(run, folder.root if needs_root else None)}")
    elif present.origin == "custom":
        advice.append("list test images in a test.csv and measure those")
    return ", or ".join(advice)


def _command(run: RunFolder, root: Path | None) -> str:
    """Return the command that measures a run on test images, in its own folder if `root` is None."""
    return f"cifar100 evaluate {run.argument}" + (f" --data.root {as_argument(root)}" if root is not None else "")


def _how_to_find(folder: DataFolder, trained: Training, *, is_chosen: bool) -> str:
    found = folder.describe_absence()
    if is_chosen:
        return f"{found}; set --data.root to a prepared data folder, or to a folder with a train.csv."
    refuse_moved(folder.root, trained.info)
    source = " --source generated" if trained.info.origin == "generated" else ""
    advice = "Run the command in the folder where it was trained, set --data.root to the data folder"
    try:
        check_ours(folder.root)
        advice += f", or prepare it again: cifar100 prepare{source} --root {as_argument(folder.root)}"
    except UserError:  # it holds other things, so that `prepare` would be refused
        advice += "."
    return f"{found}; the run was trained on {trained.info.describe()}. {advice}"


def _check_classes(present: DatasetInfo, trained: DatasetInfo, folder: DataFolder) -> None:
    """Refuse data of other classes: the network's outputs would mean something else. The same for the pixels."""
    if present.image_size != trained.image_size:
        raise UserError(
            f"{folder.root} holds images of {present.image_size}x{present.image_size} pixels, but the run was trained "
            f"on {trained.image_size}x{trained.image_size}; use a folder of custom data, whose images are scaled."
        )
    if present.class_names == trained.class_names:
        return
    ours, theirs = present.class_names, trained.class_names
    if len(ours) != len(theirs):
        difference = f"{len(ours):,} classes, expected {len(theirs):,}"
    else:
        label = next(label for label in range(len(ours)) if ours[label] != theirs[label])
        difference = f"class {label} is {printable(ours[label])!r}, expected {printable(theirs[label])!r}"
    raise UserError(
        f"{folder.root} holds other classes than the run was trained on ({difference}); use data with the "
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
