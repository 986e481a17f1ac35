"""How well the probabilities of a network fit its accuracy, and temperature scaling, which improves that.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017. A temperature divides all logits. It
is fitted on validation images and never changes a prediction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from dataclasses import fields as dataclass_fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.files.schema import boolean, fields, nothing_or, number, read_as, text, whole
from cifar100.foreign_text import reason
from cifar100.metrics import brier_score, loss
from cifar100.results.exported.facts import MAX_TEMPERATURE
from cifar100.runs.advice import how_to_evaluate
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork

NUM_BINS = 15
"""The number of bins of Guo et al."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How well the probabilities fit, at one temperature."""

    temperature: float
    """1: as trained."""

    loss: float
    """Mean cross-entropy in nats."""

    brier_score: float

    ece_equal_width: float
    """Expected calibration error, 0 to 1: mean difference of confidence and accuracy over 15 bins of equal width."""

    ece_equal_mass: float
    """The same over 15 bins of equally many images. It depends less on bins with few images."""


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Images grouped by confidence, in ascending order; float64 (B,) each. Empty bins are left out."""

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    num_images: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.num_images).sum() / self.num_images.sum())


def calibration(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Calibration:
    """Return the calibration of logits, float (N, C), divided by a temperature, for labels, int64 (N,)."""
    scaled = logits.double() / temperature
    confidence, correct = confidence_and_correctness(scaled, labels)
    return Calibration(
        temperature=temperature,
        loss=loss(scaled, labels).mean().item(),
        brier_score=brier_score(scaled, labels).mean().item(),
        ece_equal_width=equal_width_bins(confidence, correct).error,
        ece_equal_mass=equal_mass_bins(confidence, correct).error,
    )


def confidence_and_correctness(logits: Tensor, labels: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability of each prediction, (N,), and whether it is right, (N,)."""
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    return confidence.numpy(), (predicted == labels).numpy()


def equal_width_bins(confidence: NDArray[np.float64], correct: NDArray[np.bool_], num_bins: int = NUM_BINS) -> Bins:
    """Group by confidence: (0, 1/B], (1/B, 2/B], ..., as Guo et al."""
    chosen = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    return _bins(chosen, confidence, correct, num_bins)


def equal_mass_bins(confidence: NDArray[np.float64], correct: NDArray[np.bool_], num_bins: int = NUM_BINS) -> Bins:
    """Group into bins whose sizes differ by one image at most (Nguyen and O'Connor, 2015)."""
    ranks = np.empty(len(confidence), dtype=np.int64)
    ranks[np.argsort(confidence, kind="stable")] = np.arange(len(confidence))
    return _bins(ranks * num_bins // len(confidence), confidence, correct, num_bins)


def risk_coverage(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coverage and risk, (N,) each: the error among the most confident 1, 2, ..., N images.

    El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification", 2010.
    """
    wrong = ~correct[np.argsort(-confidence, kind="stable")]
    counts = np.arange(1, len(wrong) + 1)
    return counts / len(wrong), np.cumsum(wrong) / counts


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature with the lowest cross-entropy of logits, float (N, C), and labels, int64 (N,)."""
    from scipy.optimize import minimize_scalar

    exact = logits.double()
    limit = float(np.log(MAX_TEMPERATURE))
    found = minimize_scalar(
        lambda log_temperature: loss(exact / np.exp(log_temperature), labels).mean().item(),
        bounds=(-limit, limit),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(found.x))


@dataclass(frozen=True, kw_only=True)
class FittedTemperature:
    """The temperature of one checkpoint of a run, as in its `calibration.json`."""

    temperature: float
    num_images: int
    """Validation images on which it was fitted."""

    checkpoint: str
    epoch: int
    averaged: bool
    step: int | None = None
    """These four name the weights for which it holds."""


def save_temperature(temperature: float, *, num_images: int, trained: TrainedNetwork, run: RunFolder) -> None:
    """Write a fitted temperature to the run.

    Raises:
        UserError: the file cannot be written.
    """
    fitted = FittedTemperature(temperature=temperature, num_images=num_images, **asdict(trained.weights))
    write_json(asdict(fitted), run.calibration)


def saved_temperature(run: RunFolder, trained: TrainedNetwork) -> FittedTemperature | None:
    """Return the temperature that was fitted for these weights; None if there is none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        content = read_as(run.calibration, _FITTED)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{run.calibration} cannot be read ({reason(error)}); fit it again: "
            + how_to_evaluate(run, split="validation", checkpoint=trained.checkpoint, calibrate=True)
        ) from error
    if not trained.weights.are_those_of(content):
        return None
    known = {field.name for field in dataclass_fields(FittedTemperature)} & content.keys()
    return FittedTemperature(**{name: content[name] for name in known})


def with_temperature(trained: TrainedNetwork, run: RunFolder) -> TrainedNetwork:
    """Return the network with its fitted temperature.

    Raises:
        UserError: none was fitted for these weights.
    """
    fitted = saved_temperature(run, trained)
    if fitted is None:
        raise UserError(
            f"{run.path} has no temperature for {trained.checkpoint.name} from epoch {trained.epoch}; fit one on the "
            "validation images: "
            + how_to_evaluate(run, split="validation", checkpoint=trained.checkpoint, calibrate=True)
        )
    return replace(trained, temperature=fitted.temperature)


_FITTED = fields(
    {
        "temperature": number(1 / MAX_TEMPERATURE, MAX_TEMPERATURE),
        "num_images": whole(1),
        "checkpoint": text,
        "epoch": whole(),
        "averaged": boolean,
    },
    optional={"step": nothing_or(whole())},
)


def _bins(
    chosen: NDArray[np.int64], confidence: NDArray[np.float64], correct: NDArray[np.bool_], num_bins: int
) -> Bins:
    counts = np.bincount(chosen, minlength=num_bins)
    filled = counts > 0
    sums = (np.bincount(chosen, weights=values, minlength=num_bins)[filled] for values in (confidence, correct))
    mean_confidence, accuracy = (total / counts[filled] for total in sums)
    return Bins(confidence=mean_confidence, accuracy=accuracy, num_images=counts[filled].astype(np.float64))
