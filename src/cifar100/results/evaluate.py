"""Measure a trained network on one split of its data, or of other data of the same classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cifar100.config.arguments import check_choice, check_flag
from cifar100.data.packed_arrays import content_sha256
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.long_steps import progress
from cifar100.models import NetworkSource
from cifar100.models.summary import count_parameters
from cifar100.results.calibration import (
    Calibration,
    calibration,
    fit_temperature,
    save_temperature,
    saved_temperature,
)
from cifar100.results.evaluation_data import images_of
from cifar100.results.measures import ClassMeasures, Estimate, class_measures, measure
from cifar100.results.robustness.parts import Measured, Parts, PreparedParts, Robustness
from cifar100.results.saved_evaluation import load_evaluation, save_evaluation
from cifar100.runs.combined import read_combined
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork, load_trained
from cifar100.terminal import warn

BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metrics of one set of logits."""

    metrics: dict[str, Estimate]
    """Name -> figure with its 95 % interval and number of images; see `measure`. Accuracies are fractions, 0 to 1."""

    @property
    def top1(self) -> float:
        """The accuracy, 0 to 1."""
        return self.metrics["accuracy"].value

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy over the choice of images."""
        return self.metrics["accuracy"].interval

    @property
    def top5(self) -> float | None:
        """The top-5 accuracy, 0 to 1; None with fewer than six classes, for which it would be 1."""
        figure = self.metrics.get("top5_accuracy")
        return None if figure is None else figure.value

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing."""
        return self.metrics["loss"].value


@dataclass(frozen=True, kw_only=True)
class Evaluation(Measurement):
    """The performance of a trained network on one split. Written as `evaluation_<split>.json`."""

    run: str
    combined: str = ""
    """`average of 3: RUN, RUN, RUN` if the weights are a mean; empty for a run that was trained."""

    checkpoint: str
    epoch: int
    averaged: bool
    """Whether the weights are the moving average of the trained ones."""

    step: int | None = None
    """Number of optimizer steps behind the weights; None if it is unknown."""

    num_parameters: int
    """Of the network, frozen ones included."""

    data: str
    split: str
    num_images: int
    images_sha256: str
    """Identity of the images and labels; see `content_sha256`."""

    per_class: dict[str, ClassMeasures]
    """By class name; classes without images are left out."""

    calibration: Calibration
    """Of the probabilities as trained."""

    calibrated: Calibration | None = None
    """With the temperature that was fitted on validation images; None if none was."""

    flip_tta: Measurement | None = None
    """Flip test-time augmentation: the mean logits of each image and its mirror image; None unless asked for.

    It needs twice the computation, so its metrics are always reported separately."""

    robustness: Robustness | None = None
    """Without near-duplicates, with corrected labels, on corrupted images; None unless asked for."""


def evaluate(
    run: RunFolder,
    *,
    split: Literal["test", "validation"],
    checkpoint: str | PathLike[str],
    flip_tta: bool = False,
    calibrate: bool = False,
    parts: Parts | None = None,
    network: NetworkSource | None = None,
    data_root: Path | None = None,
) -> Evaluation:
    """Measure a run's network and save the result in the run folder, with a warning if that fails.

    Args:
        run: the run folder.
        split: `test`, or the run's own `validation` images.
        checkpoint: `best`, `last` or a path.
        flip_tta: also measure with flip test-time augmentation.
        calibrate: fit a temperature on the validation images and save it in the run.
        parts: what to measure besides; None: nothing.
        network: see `load_trained`.
        data_root: data folder to measure on, whatever it holds; a line says what differs from the data of the run.
            None: that of the run, which must hold the same images.

    Raises:
        UserError: the run or its data are missing, damaged or have changed; or a list or file of `parts` is.
    """
    check_choice("split", split, ("test", "validation"))
    check_flag("flip_tta", flip_tta)
    check_flag("calibrate", calibrate)
    trained = load_trained(run, checkpoint, network=network)
    fitted = _fitted_temperature(trained, run, data_root=data_root) if calibrate else None
    images, labels, data = images_of(trained, run, split=split, data_root=data_root)
    measured = Measured(
        images=images,
        labels=labels,
        split=split,
        data=data,
        root=user_path(data_root or trained.config.data.root),
        trained_on=trained.info,
    )
    prepared = PreparedParts(parts or Parts(), measured)
    if fitted is not None:  # nothing is saved before all that was asked for is known to be possible
        temperature, num_images = fitted
        save_temperature(temperature, num_images=num_images, trained=trained, run=run)
    pixels, truth = torch.from_numpy(images), torch.from_numpy(labels)
    logits = all_logits(trained, pixels)
    identity = content_sha256(images, labels, data)
    evaluation = replace(
        describe(logits, truth, trained, run=run, split=split, images_sha256=identity), data=data.describe()
    )
    if flip_tta:
        # The mean of logits, not of probabilities, gives a confident view more weight; common in speed records.
        mean = (logits + all_logits(trained, pixels, mirrored=True)) / 2
        evaluation = replace(evaluation, flip_tta=Measurement(metrics=_metrics(mean, truth, trained)))
    earlier = _earlier_robustness(run, trained, evaluation)
    robustness = prepared.measure(logits.argmax(dim=1).numpy(), lambda others: _predicted(trained, others))
    evaluation = replace(evaluation, robustness=robustness)
    try:
        content = asdict(evaluation)
        content["robustness"] = {**earlier, **_measured_parts(content["robustness"])} or None
        save_evaluation(content, run, split=split, logits=logits, labels=truth)
    except UserError as error:  # the figures are still worth showing
        warn(str(error))
    return evaluation


def _earlier_robustness(run: RunFolder, trained: TrainedNetwork, evaluation: Evaluation) -> dict[str, Any]:
    """Return the optional parts that were measured before, of the same weights on the same images.

    They can take half an hour, so that an evaluation without them keeps them in the file.
    """
    try:
        saved = load_evaluation(run, evaluation.split)
    except UserError:  # a damaged file is replaced
        return {}
    if saved is None or saved.content["images_sha256"] != evaluation.images_sha256:
        return {}
    is_same_file = _place(saved.content["checkpoint"]) == _place(evaluation.checkpoint)
    if not is_same_file or not trained.weights.are_those_of(saved.content):
        return {}
    return _measured_parts(saved.content.get("robustness"))


def _place(checkpoint: str) -> tuple[str, ...]:
    """Return run, folder and name of a checkpoint. What precedes them depends on where the command was run."""
    return Path(checkpoint).parts[-3:]


def _measured_parts(robustness: Any) -> dict[str, Any]:
    return {name: part for name, part in robustness.items() if part} if isinstance(robustness, dict) else {}


def describe(
    logits: Tensor,
    labels: Tensor,
    trained: TrainedNetwork,
    *,
    run: RunFolder,
    split: str,
    images_sha256: str,
) -> Evaluation:
    """Return the evaluation of logits, float (N, num_classes), against labels, int64 (N,)."""
    info, fitted, combined = trained.info, saved_temperature(run, trained), read_combined(run)
    return Evaluation(
        metrics=_metrics(logits, labels, trained),
        run=run.name,
        combined="" if combined is None else f"{combined.label}: {combined.names}",
        checkpoint=trained.checkpoint.as_posix(),
        epoch=trained.epoch,
        averaged=trained.averaged,
        step=trained.step,
        num_parameters=count_parameters(trained.network),
        data=info.describe(),
        split=split,
        num_images=len(labels),
        images_sha256=images_sha256,
        per_class=class_measures(labels.numpy(), logits.argmax(dim=1).numpy(), info.class_names),
        calibration=calibration(logits, labels),
        calibrated=None if fitted is None else calibration(logits, labels, temperature=fitted.temperature),
    )


def all_logits(trained: TrainedNetwork, images: Tensor, *, mirrored: bool = False, doing: str = "Evaluating") -> Tensor:
    """Return the logits of images, uint8 (N, 3, S, S): float32 (N, num_classes) on the CPU. Shows progress.

    mirrored: of their mirror images, batch by batch, because the images may take more than the memory.
    """
    found = []
    with progress(doing, total=len(images), transient=True) as advance:
        for batch in torch.split(images, BATCH_SIZE):
            found.append(trained.logits(batch.flip(3) if mirrored else batch).cpu())
            advance(len(batch))
    return torch.cat(found)


def _predicted(trained: TrainedNetwork, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the predicted labels, int64 (B,), of one batch of images, uint8 (B, 3, S, S)."""
    predicted: NDArray[np.int64] = trained.logits(torch.from_numpy(images)).argmax(dim=1).cpu().numpy()
    return predicted


def _metrics(logits: Tensor, labels: Tensor, trained: TrainedNetwork) -> dict[str, Estimate]:
    return measure(
        logits, labels, num_classes=trained.info.num_classes, class_to_superclass=trained.info.class_to_superclass
    )


def _fitted_temperature(trained: TrainedNetwork, run: RunFolder, *, data_root: Path | None) -> tuple[float, int]:
    """Return the temperature of the validation images, and their number."""
    instead = " to calibrate on; leave out --calibrate, or train with --data.validation_fraction 0.1"
    images, labels, _ = images_of(trained, run, split="validation", data_root=data_root, instead=instead)
    logits = all_logits(trained, torch.from_numpy(images), doing="Calibrating")
    if (logits.argmax(dim=1) == torch.from_numpy(labels)).all():
        raise UserError(
            f"all {len(labels):,} validation images of {run.argument} are classified correctly, so no temperature "
            "minimises the loss; leave out --calibrate, or hold out more validation images."
        )
    return fit_temperature(logits, torch.from_numpy(labels)), len(labels)
