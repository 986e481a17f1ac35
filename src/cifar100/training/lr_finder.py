"""The learning-rate range test (Smith, 2017, arXiv:1506.01186) and its plot."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities.seed import isolate_rng

from cifar100.errors import UserError
from cifar100.run_folder import RunFolder
from cifar100.training.history import write_json
from cifar100.training.lit_module import ImageClassifier
from cifar100.training.trainer import quiet

LOWEST, HIGHEST = 1e-6, 10.0
"""Range of the test."""

NUM_STEPS = 200
"""Steps of the test, equally spaced on a log axis."""


@dataclass(frozen=True, kw_only=True)
class LearningRateSuggestion:
    """The outcome of a range test."""

    learning_rate: float
    """Where the smoothed loss falls most steeply."""

    learning_rates: list[float]
    losses: list[float]
    """Smoothed training loss at each learning rate."""


def range_test(trainer: L.Trainer, module: ImageClassifier, data: L.LightningDataModule) -> LearningRateSuggestion:
    """Run Lightning's range test; module, optimizer and random state are afterwards as they were before.

    Raises:
        UserError: the test ended without a suggestion.
    """
    with quiet(), isolate_rng():
        finder = Tuner(trainer).lr_find(
            module, datamodule=data, min_lr=LOWEST, max_lr=HIGHEST, num_training=NUM_STEPS, update_attr=False
        )
        learning_rate = finder.suggestion() if finder else None
    if finder is None or learning_rate is None or not math.isfinite(learning_rate):
        steps = len(finder.results["loss"]) if finder else 0
        raise UserError(
            f"the learning-rate finder has no suggestion: only {steps} steps gave a finite loss; use more training "
            "images (--training.limit_train_batches null, a smaller --data.batch_size), or give "
            "--optimization.learning_rate."
        )
    return LearningRateSuggestion(
        learning_rate=learning_rate, learning_rates=finder.results["lr"], losses=finder.results["loss"]
    )


def save_suggestion(suggestion: LearningRateSuggestion, run: RunFolder) -> None:
    """Write `lr_finder.json` and `lr_finder.png`."""
    write_json(asdict(suggestion), run.lr_finder_points)
    plot_suggestion(suggestion, run.lr_finder_plot)


def plot_suggestion(suggestion: LearningRateSuggestion, path: Path) -> None:
    """Draw loss over learning rate, log axis, the suggestion marked."""
    from matplotlib.figure import Figure  # without pyplot: it keeps no global state and needs no display

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(suggestion.learning_rates, suggestion.losses, color="#3b6fb6", linewidth=1.8)
    index = suggestion.learning_rates.index(suggestion.learning_rate)
    axes.axvline(suggestion.learning_rate, color="#c8553d", linewidth=1, linestyle="--")
    axes.plot(suggestion.learning_rate, suggestion.losses[index], "o", color="#c8553d")
    axes.annotate(
        f"suggestion {suggestion.learning_rate:.3g}",
        (suggestion.learning_rate, suggestion.losses[index]),
        xytext=(8, 8),
        textcoords="offset points",
        color="#c8553d",
    )
    lowest = min(loss for loss in suggestion.losses if math.isfinite(loss))
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed", title="Learning-rate range test")
    axes.set_ylim(lowest - 0.05 * (suggestion.losses[0] - lowest) - 0.05, 1.3 * suggestion.losses[0])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
