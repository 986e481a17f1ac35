"""The learning-rate range test (Smith, 2017, arXiv:1506.01186) and its plot."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import NDArray

from cifar100.atomic_files import write_json
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.training.lit_module import ImageClassifier
from cifar100.training.reporting.silence import quiet

LOWEST, HIGHEST = 1e-5, 10.0
"""Range of the test."""

NUM_STEPS = 150
"""Steps of the test, equally spaced on a log axis."""

SMOOTHING_STEPS = 4.0
"""Standard deviation of the Gaussian that smooths the losses, in steps."""

LEAST_FALL = 0.01
"""The smoothed loss must fall by this share of its first value; less is noise."""

LIGHTNING_SMOOTHING = 0.98
"""Lightning's test keeps a running mean of the losses with this factor, and no raw losses."""


@dataclass(frozen=True, kw_only=True)
class LearningRateSuggestion:
    """The outcome of a range test."""

    learning_rate: float
    """Where the smoothed loss falls most steeply on the log axis."""

    learning_rates: list[float]
    losses: list[float]
    """Training loss of one batch at each learning rate."""

    smoothed_losses: list[float]


def range_test(trainer: L.Trainer, module: ImageClassifier, data: L.LightningDataModule) -> LearningRateSuggestion:
    """Run Lightning's range test; module, optimizer and random state are afterwards as they were before.

    Under several processes all train, and the losses are those of the first one's share.

    Raises:
        UserError: the losses allow no suggestion.
    """
    with quiet(), isolate_rng(), _progress_on_terminals_only(trainer):
        finder = Tuner(trainer).lr_find(
            module, datamodule=data, min_lr=LOWEST, max_lr=HIGHEST, num_training=NUM_STEPS, update_attr=False
        )
    assert finder is not None  # None is for `fast_dev_run`, which is off
    return suggest(finder.results["lr"], _raw_losses(finder.results["loss"]))


def suggest(learning_rates: Sequence[float], losses: Sequence[float]) -> LearningRateSuggestion:
    """Choose the learning rate at which the smoothed loss falls most steeply, before it is at its lowest.

    The slope is taken on the log axis. Lightning's own suggestion takes it on the linear axis, where a step between
    two tiny rates makes any noise steep, and so tends to suggest the lowest rates.

    Raises:
        UserError: the loss never falls, or too few losses are finite.
    """
    finite = np.isfinite(losses)
    usable = int(finite.argmin()) if not finite.all() else len(losses)
    advice = "try a smaller --data.batch_size or more epochs of data, or give --optimization.learning_rate a number."
    if usable < 10:
        raise UserError(f"the learning-rate finder has no suggestion: only {usable} steps gave a finite loss; {advice}")
    rates, raw = np.asarray(learning_rates[:usable]), np.asarray(losses[:usable])
    smoothed = _smooth(raw)
    lowest = int(smoothed.argmin())
    fall = (smoothed[: lowest + 1].max() - smoothed[lowest]) / abs(smoothed[0])
    if lowest < 2 or fall < LEAST_FALL:
        raise UserError(
            f"the learning-rate finder has no suggestion: the loss fell by {fall:.1%} between the learning rates "
            f"{rates[0]:.1e} and {rates[-1]:.1e}; {advice}"
        )
    slope = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
    return LearningRateSuggestion(
        learning_rate=float(rates[slope.argmin()]),
        learning_rates=rates.tolist(),
        losses=raw.tolist(),
        smoothed_losses=smoothed.tolist(),
    )


def save_suggestion(suggestion: LearningRateSuggestion, run: RunFolder) -> None:
    """Write `lr_finder.json` and `lr_finder.png`."""
    write_json(asdict(suggestion), run.lr_finder_points)
    plot_suggestion(suggestion, run.lr_finder_plot)


def plot_suggestion(suggestion: LearningRateSuggestion, path: Path) -> None:
    """Draw loss over learning rate, log axis, the suggestion marked."""
    from matplotlib.figure import Figure  # without pyplot: it keeps no global state and needs no display

    rates, smoothed = suggestion.learning_rates, suggestion.smoothed_losses
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, suggestion.losses, ".", color="#3b6fb6", alpha=0.3, markersize=4, label="each batch")
    axes.plot(rates, smoothed, color="#3b6fb6", linewidth=1.8, label="smoothed")
    height = smoothed[rates.index(suggestion.learning_rate)]
    axes.axvline(suggestion.learning_rate, color="#c8553d", linewidth=1, linestyle="--")
    label = f"suggestion: {suggestion.learning_rate:.3g}"
    axes.plot(suggestion.learning_rate, height, "o", color="#c8553d", label=label)
    low, high = min(smoothed), smoothed[0]
    margin = 0.25 * (high - low)
    axes.set_ylim(low - 2 * margin, high + 2 * margin)  # a diverging end must not flatten the rest
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(path)


def _raw_losses(smoothed: Sequence[float]) -> list[float]:
    """Undo Lightning's running mean.

    Its correction for the first steps is one step ahead (2.6.6), which halves the first value and bends the curve up;
    the mean itself is right.
    """
    means = [value * (1 - LIGHTNING_SMOOTHING ** (step + 2)) for step, value in enumerate(smoothed)]
    before = [0.0, *means[:-1]]
    factor = LIGHTNING_SMOOTHING
    return [(mean - factor * previous) / (1 - factor) for mean, previous in zip(means, before, strict=True)]


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth with a Gaussian; at the ends the mean is over what there is."""
    steps = np.arange(len(values))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / SMOOTHING_STEPS) ** 2)
    smoothed: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
    return smoothed


@contextlib.contextmanager
def _progress_on_terminals_only(trainer: L.Trainer) -> Iterator[None]:
    """Lightning draws its own bar on stderr, terminal or not, in every process."""
    if sys.stderr.isatty() and trainer.is_global_zero:
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield
