"""What a run is: its settings, data, network, device and epochs, from the files of its folder.

Every file may be missing but `config.yaml` and `dataset.json`, which a run has from its first moment.
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar100.config.settings_file import flatten, read_settings
from cifar100.config.shown_values import shown
from cifar100.data.dataset_info import DatasetInfo, read_info
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.files.regular import read_bytes
from cifar100.files.user_paths import as_argument
from cifar100.runs.advice import Split, evaluate_command, usual_split
from cifar100.runs.combined import Combined, read_combined
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.runs.history import Epoch, best_epoch, read_epochs
from cifar100.runs.status import UNKNOWN, read_status
from cifar100.settings import load_config, recipe_names, to_dict

MAX_TEXT_BYTES = 64 * 2**20
"""Of a log or a layer table."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts about one run; None or empty if they are not known."""

    run: RunFolder
    settings: dict[str, Any]
    """Name -> value."""

    combined: Combined | None
    """What it was combined from: an ensemble, which has no settings, or an average; None if it was trained."""

    info: DatasetInfo
    parts: dict[str, str]
    """What a Python caller brought along: `network`, `loss`, `datamodule`."""

    status: str
    """`running`, `finished`, `stopped`, `diverged`, `failed`, `killed` or `unknown`."""

    message: str
    started: str
    """Date and time, ISO 8601."""

    epochs: list[Epoch]
    num_train: int | None
    """Number of images that the network was trained on."""

    num_validation: int | None
    log: LogFacts
    mult_adds: float | None
    """Multiply-adds of a forward pass of one image."""

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.run.name

    @property
    def recipe(self) -> str | None:
        """Name of the recipe."""
        return self.settings.get("recipe")

    @property
    def network(self) -> str:
        """Name of the network."""
        if self.is_ensemble:
            assert self.combined is not None
            return f"Ensemble of {self.combined.names}"
        return self.parts.get("network") or self.log.network or str(self.settings.get("model.name", "unknown"))

    @property
    def is_ensemble(self) -> bool:
        """Whether there are several networks."""
        return self.combined is not None and self.combined.kind == "ensemble"

    @property
    def how_to_repeat(self) -> str:
        """Return the command that makes it again, or the call from Python for a run with custom parts."""
        if self.combined is None and self.parts:
            given = ", ".join(f"{part}=..." for part in self.parts)
            return f"train(load_config(files={self.run.config.as_posix()!r}), {given})"
        if self.combined is None:
            return f"cifar100 train --config {self.config_argument}"
        if self.is_ensemble:
            return self.how_to_evaluate()
        if "network" in self.parts:
            return f"average({[place.as_posix() for place in self.combined.places]}, network=...)"
        return f"cifar100 average {self.combined.arguments} --experiment NAME"

    @property
    def config_argument(self) -> str:
        """The path of `config.yaml` on a command line."""
        return as_argument(self.run.config)

    def how_to_evaluate(self, *, calibrates: bool = False, checkpoint: Path | None = None) -> str:
        """Return the command that measures the run, or the call from Python for a custom network.

        calibrates: whether it also fits a temperature. checkpoint: the weights; None: those that `evaluate` chooses.
        """
        split = usual_split(self.info)
        if self.combined is not None and self.is_ensemble:
            options = f" --ensemble --experiment {shlex.quote(self.name)}" + " --split validation" * (split != "test")
            return f"cifar100 evaluate {self.combined.arguments}{options}"
        return self._evaluate(split=split, checkpoint=checkpoint, calibrate=calibrates)

    def how_to_measure_again(self, split: Split) -> str:
        """Return the command that measures the weights of now on the images of an earlier evaluation."""
        return self._evaluate(split=split)

    def how_to_calibrate(self, *, checkpoint: Path | None = None) -> str:
        """Return the command that fits a temperature without opening the test images. checkpoint: as above."""
        return self._evaluate(split="validation", checkpoint=checkpoint, calibrate=True)

    @property
    def how_to_measure_robustness(self) -> str:
        """Return the command that also measures what `evaluate` leaves out by default, or the call from Python."""
        has_lists = self.info.origin == "official"
        return self._evaluate(
            split=usual_split(self.info), fair=has_lists, corrected=has_lists, corruptions="generated"
        )

    def _evaluate(self, *, split: Split, checkpoint: Path | None = None, **options: str | bool) -> str:
        is_custom = "network" in self.parts
        return evaluate_command(self.run, split=split, is_custom=is_custom, checkpoint=checkpoint, **options)

    @property
    def changes(self) -> dict[str, tuple[str, str]]:
        """The settings that differ from the recipe: name -> the recipe's value, the run's value."""
        if self.recipe not in recipe_names():
            return {}
        recipe = flatten(to_dict(load_config(self.recipe)), "")
        shown_values = {name: (shown(recipe.get(name)), shown(value)) for name, value in self.settings.items()}
        return {name: (before, now) for name, (before, now) in shown_values.items() if before != now}

    @property
    def best(self) -> Epoch | None:
        """The epoch with the highest validation accuracy."""
        return best_epoch(self.epochs)

    @property
    def seconds(self) -> float | None:
        """Duration of all epochs with their validation; None if it is unknown."""
        seconds = sum(epoch.get("seconds", 0.0) for epoch in self.epochs)
        return seconds if self.epochs and math.isfinite(seconds) else None


@dataclass(frozen=True, kw_only=True)
class LogFacts:
    """What `training.log` records when a run starts; of a resumed run, the last start."""

    network: str | None = None
    parameters: int | None = None
    device: str | None = None
    versions: str | None = None


def read_facts(run: RunFolder) -> RunFacts:
    """Read the files of a run.

    Raises:
        UserError: a file is damaged.
    """
    status, combined = read_status(run), read_combined(run)
    is_ensemble = combined is not None and combined.kind == "ensemble"
    num_train, num_validation = _split_sizes(run)
    return RunFacts(
        run=run,
        settings={} if is_ensemble else read_settings(run.config),
        combined=combined,
        info=read_info(run.dataset_info),
        parts=read_parts(run),
        status=str(status.get("status", UNKNOWN)),
        message=str(status.get("message", "")),
        started=str(status.get("started", "")),
        epochs=read_epochs(run.metrics) if run.metrics.exists() else [],
        num_train=num_train,
        num_validation=num_validation,
        log=parse_log(_text(run.training_log)),
        mult_adds=parse_mult_adds(_text(run.model_info)),
    )


def parse_log(log: str) -> LogFacts:
    """Return the facts in the lines that `training.reporting.announcements` writes."""
    network, parameters = _last(log, r"network  (.*), ([\d,]+) parameters") or (None, None)
    (device,) = _last(log, r"device   (.*)") or (None,)
    (versions,) = _last(log, r"versions: (.*)") or (None,)
    count = None if parameters is None else int(parameters.replace(",", ""))
    return LogFacts(network=network, parameters=count, device=device, versions=versions)


def parse_mult_adds(model_info: str) -> float | None:
    """Return the multiply-adds of one image in a `model_info.txt`.

    Files of earlier versions hold only torchinfo's total, in millions or more, which leaves out attention.
    """
    exact = re.search(
        r"^Mult-adds of the convolutions and matrix products, one image: ([\d,]+)$", model_info, re.MULTILINE
    )
    if exact:
        return float(exact[1].replace(",", ""))
    found = re.search(r"^Total mult-adds \((?:Units\.)?([MGT])\w*\): ([\d.]+)$", model_info, re.MULTILINE)
    return float(found[2]) * {"M": 1e6, "G": 1e9, "T": 1e12}[found[1]] if found else None


def _last(log: str, pattern: str) -> tuple[str, ...] | None:
    """Return the groups of the last line that matches after its time stamp."""
    found = re.findall(rf"^\S+ \S+  {pattern}$", log, re.MULTILINE)
    if not found:
        return None
    return found[-1] if isinstance(found[-1], tuple) else (found[-1],)


def _split_sizes(run: RunFolder) -> tuple[int | None, int | None]:
    try:
        split = load_split(run.split)
    except UserError:  # a custom data module has none
        return None, None
    return len(split.train), len(split.validation)


def _text(path: Any) -> str:
    """Return the text of a file; empty if it is missing or cannot be read, as these facts are only shown."""
    try:
        return read_bytes(path, limit=MAX_TEXT_BYTES).decode(errors="replace")
    except OSError:
        return ""
