"""An ensemble: the mean of the probabilities of several networks (Lakshminarayanan et al., 2017).

It is computed from the logits that `evaluate` has saved of each member. Its folder `logs/<name>/` holds `members.json`,
`dataset.json` and its evaluations. It costs as much as all its members, so it is never shown as a single network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from cifar100.config.arguments import check_choice
from cifar100.data.dataset_info import DatasetInfo, read_info, write_info
from cifar100.errors import UserError
from cifar100.results.calibration import Calibration, calibration
from cifar100.results.combining.members import (
    Source,
    Split,
    against_members,
    check_distinct,
    check_same_classes,
    check_same_images,
    measured,
)
from cifar100.results.comparison.result import PairComparison
from cifar100.results.comparison.variants import common_settings, effective_settings
from cifar100.results.evaluate import Measurement
from cifar100.results.measures import ClassMeasures, Estimate, class_measures, measure
from cifar100.results.saved_evaluation import SavedEvaluation, save_evaluation
from cifar100.runs.combined import Combined, Member, read_combined, write_combined
from cifar100.runs.folder import LOGS, MAX_NAME_BYTES, RunFolder, check_name, create_run_folder
from cifar100.runs.status import FINISHED, write_status


@dataclass(frozen=True, kw_only=True)
class MeasuredMember(Member):
    """A member with its own accuracy."""

    accuracy: Estimate


@dataclass(frozen=True, kw_only=True)
class EnsembleEvaluation(Measurement):
    """The performance of an ensemble on one split. Written as `evaluation_<split>.json`."""

    run: str
    """Name of the folder in `logs/`."""

    members: list[MeasuredMember]
    num_parameters: int | None
    """Of all members together; None if one was evaluated by a version that did not record it."""

    data: str
    split: str
    num_images: int
    images_sha256: str
    averaged: bool = False
    per_class: dict[str, ClassMeasures]
    calibration: Calibration
    against_members: list[PairComparison]
    """The ensemble against each member."""


def evaluate_ensemble(
    runs: Sequence[RunFolder],
    *,
    split: Split,
    checkpoint: str = "best",
    experiment: str | None = None,
    data_root: Path | None = None,
) -> EnsembleEvaluation:
    """Measure the ensemble of several runs and save the result in a folder of its own.

    Members that have not been measured on these images are measured first; that is saved in their folders.

    Args:
        runs: at least two run folders.
        split: `test`, or the `validation` images that the runs have in common.
        checkpoint: `best` or `last`, of each run.
        experiment: name of the folder in `logs/`; None: `ensemble-RUN-RUN`. An earlier ensemble of the same runs is
            measured again.
        data_root: see `evaluate`.

    Raises:
        UserError: the runs are of different classes or images, one cannot be measured, or the name is taken.
    """
    check_choice("split", split, ("test", "validation"))
    check_choice("checkpoint", checkpoint, ("best", "last"))
    sources = [Source(run=run, checkpoint=checkpoint) for run in runs]
    check_distinct(sources, doing="an ensemble")
    check_same_classes(runs)
    if split == "validation" or data_root is None:
        check_same_images(runs, split)
    members = [source.member() for source in sources]
    name = experiment if experiment is not None else _name(runs)
    _check_free(name, runs)
    evaluations = [measured(source, split=split, data_root=data_root) for source in sources]
    _check_measured_alike(runs, evaluations, split)
    logits = mean_logits([torch.from_numpy(saved.logits) for saved in evaluations])
    info = read_info(runs[0].dataset_info)
    evaluation = _describe(logits, evaluations, members, info, name=name, split=split)
    settings = common_settings([effective_settings(run) for run in runs])
    folder = _folder(name, Combined(kind="ensemble", members=tuple(members), settings=settings), info)
    labels = torch.from_numpy(evaluations[0].labels)
    save_evaluation(asdict(evaluation), folder, split=split, logits=logits, labels=labels)
    return evaluation


def mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of the members' probabilities, float32 (N, num_classes).

    logits: float (N, num_classes), of each member.
    """
    log_probabilities = torch.stack([each.double().log_softmax(dim=1) for each in logits])
    return (log_probabilities.logsumexp(dim=0) - math.log(len(logits))).float()


def _describe(
    logits: Tensor,
    evaluations: Sequence[SavedEvaluation],
    members: Sequence[Member],
    info: DatasetInfo,
    *,
    name: str,
    split: str,
) -> EnsembleEvaluation:
    content, labels = evaluations[0].content, torch.from_numpy(evaluations[0].labels)
    predicted = logits.argmax(dim=1).numpy()
    sizes = [saved.content.get("num_parameters") for saved in evaluations]
    return EnsembleEvaluation(
        metrics=measure(logits, labels, num_classes=info.num_classes, class_to_superclass=info.class_to_superclass),
        run=name,
        members=[
            MeasuredMember(**vars(member), accuracy=_accuracy(saved))
            for member, saved in zip(members, evaluations, strict=True)
        ],
        num_parameters=None if None in sizes else sum(size for size in sizes if size is not None),
        data=str(content.get("data", "")),
        split=split,
        num_images=len(labels),
        images_sha256=content["images_sha256"],
        per_class=class_measures(evaluations[0].labels, predicted, info.class_names),
        calibration=calibration(logits, labels),
        against_members=against_members(predicted, members, evaluations, name=name),
    )


def _accuracy(saved: SavedEvaluation) -> Estimate:
    figure = saved.content["metrics"]["accuracy"]
    low, high = figure["interval"]
    return Estimate(value=figure["value"], interval=(low, high), num_images=figure["num_images"])


def _check_measured_alike(runs: Sequence[RunFolder], evaluations: Sequence[SavedEvaluation], split: str) -> None:
    """Refuse evaluations of different images, as of data that got a test split after the training."""
    first = evaluations[0]
    for run, saved in zip(runs, evaluations, strict=True):
        if saved.content["images_sha256"] != first.content["images_sha256"]:
            raise UserError(
                f"{runs[0].argument} and {run.argument} were evaluated on different {split} images; set "
                "--data.root to the data folder to measure all of them on."
            )


def _name(runs: Sequence[RunFolder]) -> str:
    name = "-".join(["ensemble", *(run.name for run in runs)])
    if len(name.encode()) > MAX_NAME_BYTES:
        raise UserError("the names of the runs are too long to combine; choose a name with --experiment.")
    return name


def _check_free(name: str, runs: Sequence[RunFolder]) -> None:
    """Refuse the name of anything but an earlier ensemble of the same runs."""
    check_name(name)
    folder = RunFolder(LOGS / name)
    earlier = read_combined(folder)
    if earlier is None and not folder.path.exists():
        return
    if earlier is None or earlier.kind != "ensemble" or _places(earlier) != sorted(_place(run.path) for run in runs):
        what = "already exists" if earlier is None else f"is another {earlier.label}: {earlier.names}"
        raise UserError(f"{folder.path} {what}, and is never overwritten; choose another --experiment.")


def _places(combined: Combined) -> list[str]:
    return sorted(_place(Path(member.path)) for member in combined.members)


def _place(path: Path) -> str:
    return str(path.resolve())


def _folder(name: str, combined: Combined, info: DatasetInfo) -> RunFolder:
    """Create the folder of an ensemble, or update what it says of its members."""

    def fill(folder: RunFolder, _: str) -> None:
        write_combined(combined, folder)
        write_info(info, folder.dataset_info)
        write_status(folder, FINISHED)

    folder = RunFolder(LOGS / name)
    if not folder.members.is_file():
        return create_run_folder(name, fill)
    fill(folder, name)
    return folder
