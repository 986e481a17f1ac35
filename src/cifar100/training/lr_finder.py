"""The learning-rate range test (Smith, 2017, arXiv:1506.01186) and its plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import NDArray

from cifar100.errors import UserError
from cifar100.files.atomic import replacing, write_json
from cifar100.files.regular import read_json
from cifar100.long_steps import progress
from cifar100.process.stopping import take_over_again
from cifar100.runs.folder import RunFolder
from cifar100.training.reporting.silence import quiet
from cifar100.training.trainer import callbacks_of, interrupts_kept

MIN_RATE, MAX_RATE = 1e-5, 10.0
"""Learning rates at which the test starts and ends."""

NUM_STEPS = 150
"""Steps of the test, equally spaced on a log axis."""

SMOOTHING_STEPS = 4.0
"""Standard deviation of the Gaussian that smooths the losses, in steps."""

MIN_FALL = 0.01
"""Minimum fall of the smoothed loss, as a fraction of its first value; less is noise."""

MAX_LOSS_RATIO = 4.0
"""The test ends when a loss reaches this multiple of the smallest one."""


@dataclass(frozen=True, kw_only=True)
class LearningRateSuggestion:
    """The outcome of a range test."""

    learning_rate: float
    """Learning rate at which the smoothed loss falls most steeply on the log axis."""

    learning_rates: list[float]
    losses: list[float]
    """Training loss of one batch at each learning rate."""

    smoothed_losses: list[float]


class RangeTest(Callback):
    """Raises the learning rate exponentially and records the loss of every step.

    Args:
        num_steps: of the test, equally spaced on a log axis from `MIN_RATE` to `MAX_RATE`.
    """

    def __init__(self, num_steps: int = NUM_STEPS) -> None:
        self.learning_rates: list[float] = np.geomspace(MIN_RATE, MAX_RATE, num_steps).tolist()
        self.losses: list[float] = []
        self.advance: Callable[[int], None] = lambda steps: None
        """Called with the number of steps done since the last call."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals from Lightning."""
        take_over_again()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate of this step."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.learning_rates[len(self.losses)]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the mean loss over all processes; stop after the last step or if the loss explodes."""
        loss: Any = trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")
        self.losses.append(float(loss))
        self.advance(1)
        exploded = not self.losses[-1] < MAX_LOSS_RATIO * min(self.losses)
        if len(self.losses) == len(self.learning_rates) or exploded:
            trainer.should_stop = True


def range_test(trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule) -> LearningRateSuggestion:
    """Run the range test. The module and its optimizer change; the random state does not.

    Args:
        trainer: has a `RangeTest` among its callbacks.
        module: the module to train.
        data: the data module with the training batches.

    Raises:
        UserError: no learning rate can be suggested from the losses.
    """
    test = next(callback for callback in callbacks_of(trainer) if isinstance(callback, RangeTest))
    total = len(test.learning_rates)
    with (
        quiet(),
        interrupts_kept(),
        isolate_rng(),
        progress("Learning-rate range test", total=total, silent=not trainer.is_global_zero) as advance,
    ):
        test.advance = advance
        trainer.fit(module, datamodule=data)
    return suggest(test.learning_rates[: len(test.losses)], test.losses)


def suggest(learning_rates: Sequence[float], losses: Sequence[float]) -> LearningRateSuggestion:
    """Choose the learning rate at which the smoothed loss falls most steeply, before its minimum.

    The slope is taken on the log axis. Lightning's own suggestion takes it on the linear axis, where a step between
    two tiny rates turns any noise into a steep slope, so it tends to suggest the lowest rates.

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
    if lowest < 2 or fall < MIN_FALL:
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


def load_suggestion(run: RunFolder) -> LearningRateSuggestion:
    """Read the suggestion of an earlier test of a run."""
    content = read_json(run.lr_finder_points)
    try:
        return LearningRateSuggestion(**content)
    except TypeError as error:
        raise UserError(f"{run.lr_finder_points} holds no result of a range test; remove {run.path}.") from error


def plot_suggestion(suggestion: LearningRateSuggestion, path: Path) -> None:
    """Plot the loss over the learning rate, on a log axis, and mark the suggestion."""
    from matplotlib.figure import Figure  # pyplot would keep global state and need a display

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
    axes.set_ylim(low - 2 * margin, high + 2 * margin)  # a diverging end must not flatten the curve
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth with a Gaussian, normalised at the ends."""
    steps = np.arange(len(values))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / SMOOTHING_STEPS) ** 2)
    smoothed: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
    return smoothed
