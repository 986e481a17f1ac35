"""What a sweep has found: its trials, the best one, and the file `best.yaml` that `train --config` takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cifar100.config import settings
from cifar100.config.conversion import convert
from cifar100.config.shown_values import shown
from cifar100.errors import UserError
from cifar100.files.atomic import what_to_do, write_atomically
from cifar100.files.user_paths import as_argument
from cifar100.search.sweep.parameters import Value, plain
from cifar100.search.sweep.study import FAILURE, IDENTITY, SURPLUS, origin, run_path

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

BEST = "best.yaml"

_STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}

_ENOUGH = 4
"""Finished trials from which importances are computed."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One trial, over all its attempts."""

    number: int
    """Of the first attempt; it names the run folder."""

    state: str
    """`finished`, `pruned`, `failed`, `running` or `waiting`."""

    accuracy: float | None
    """Validation accuracy of its best epoch so far, 0 to 1."""

    epochs: int
    """Number of epochs that were validated."""

    values: dict[str, Value]
    """Of the settings that are varied."""

    failure: str
    """Why it failed; may be empty."""

    seconds: float | None
    """Duration of the last attempt; None until it ends."""

    run: Path
    """Its run folder. With a server as storage it may lie on another machine."""


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The trials of a sweep at one moment."""

    name: str
    folder: Path
    recipe: str
    fixed: dict[str, Any]
    space: dict[str, str]
    """The settings that are varied, each with its values in words."""

    trials: list[Entry]
    """The best first; those without an accuracy last."""

    importances: dict[str, float]
    """Of the settings, the most important first; they add up to 1. Empty with less than four finished trials."""

    @property
    def best(self) -> Entry | None:
        """The finished trial with the highest validation accuracy."""
        return _best(self.trials)

    @property
    def best_config(self) -> Path:
        """The file that `train --config` takes."""
        return self.folder / BEST

    @property
    def page(self) -> Path:
        """The file with history, importances and slices."""
        return self.folder / "sweep.html"


def read_result(study: Study, folder: Path) -> SweepResult:
    """Return what a sweep has found so far."""
    found = study.user_attrs[IDENTITY]
    return SweepResult(
        name=study.study_name,
        folder=folder,
        recipe=found["recipe"],
        fixed=found["fixed"],
        space=found["space"],
        trials=entries(study, folder),
        importances=_importances(study),
    )


def entries(study: Study, folder: Path) -> list[Entry]:
    """Return all trials, the best first; those without an accuracy last."""
    last: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        if not trial.user_attrs.get(SURPLUS):
            last[origin(trial)] = trial
    found = [_entry(trial, folder) for trial in last.values()]
    return sorted(found, key=lambda entry: (-1 if entry.accuracy is None else -entry.accuracy - 1, entry.number))


def best_entry(study: Study, folder: Path) -> Entry | None:
    """Return the finished trial with the highest validation accuracy."""
    return _best(entries(study, folder))


def _best(trials: Iterable[Entry]) -> Entry | None:
    """Return the first finished trial, the best first. Sweeps of earlier versions may lack the accuracy of one."""
    return next((trial for trial in trials if trial.state == "finished" and trial.accuracy is not None), None)


def write_best(study: Study, folder: Path) -> None:
    """Write `best.yaml`, if a trial is finished.

    Raises:
        UserError: the file cannot be written.
    """
    best = best_entry(study, folder)
    if best is None:
        return
    found = study.user_attrs[IDENTITY]
    path = folder / BEST
    content: dict[str, Any] = {"recipe": found["recipe"]}
    for name, value in {**found["fixed"], **best.values}.items():
        section, _, key = name.partition(".")
        content.setdefault(section, {})[key] = plain(value)
    comment = (
        f"# The best of {len(entries(study, folder)):,} trials of the sweep {study.study_name}: trial {best.number}, "
        f"{100 * (best.accuracy or 0):.2f} % of the validation images in its best epoch.\n"
        "# It was chosen by this accuracy, which is therefore optimistic. Measure it again:\n"
        f"#   cifar100 trials --config {as_argument(path)} --split validation\n"
    )
    try:
        write_atomically(path, (comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)).encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); {what_to_do(error)}.") from error


def short(value: Value) -> str:
    """Return a value for a table: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else shown(value)


def _entry(trial: FrozenTrial, folder: Path) -> Entry:
    accuracies = [value for value in trial.intermediate_values.values() if value == value]  # not nan
    number, started, ended = origin(trial), trial.datetime_start, trial.datetime_complete
    kept = trial.params or trial.system_attrs.get("fixed_params", {})
    return Entry(
        number=number,
        state=_STATES[trial.state.name],
        accuracy=max(accuracies, default=None),
        epochs=len(accuracies),
        values={name: convert(name, value, settings()[name].annotation) for name, value in kept.items()},
        failure=str(trial.user_attrs.get(FAILURE, "")),
        seconds=None if started is None or ended is None else (ended - started).total_seconds(),
        run=run_path(folder, number),
    )


def _importances(study: Study) -> dict[str, float]:
    """Return how much of the spread of the accuracies each setting explains (PED-ANOVA, Watanabe et al., 2023)."""
    import optuna

    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(finished) < _ENOUGH or len({trial.value for trial in finished}) == 1:
        return {}
    return dict(optuna.importance.get_param_importances(study))
