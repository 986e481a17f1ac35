"""The settings in which runs differ. Runs that differ only in the seed form a group: repetitions of one experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cifar100.config import SECTIONS
from cifar100.config.declarations import components
from cifar100.data.dataset_info import read_info
from cifar100.runs.combined import read_combined
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.settings import load_complete_config, to_dict

SEED = "training.seed"

WITHOUT_EFFECT = {
    "data.root": "the images are compared by their content",
    "data.source": "the same",
    "data.num_workers": "the images of a step do not depend on it",
    "training.loggers": "loggers only record",
    "training.save_every_minutes": "saving does not change a run",
    "training.max_nonfinite_losses": "it only ends runs that diverge",
    "training.profile": "it only measures",
}
"""Settings that do not change the result of a run, and why. The settings of the loggers are added."""

Settings = Mapping[str, Any]
"""Name of a setting -> value, as in JSON."""


def effective_settings(run: RunFolder) -> dict[str, Any]:
    """Return everything that decides on the result of a run: its settings, and what config.yaml cannot name.

    A learning rate that the range test chose is `auto`, as it was given: it differs a little from seed to seed.

    An ensemble has the settings in which its members agree, and their names.

    Raises:
        UserError: a file of the run is missing or damaged.
    """
    combined = read_combined(run)
    made_of = {} if combined is None else {f"{combined.kind} of": combined.names}
    if combined is not None and combined.kind == "ensemble":
        return combined.settings | {SEED: None} | made_of
    content = to_dict(load_complete_config(run.config))
    found = {"recipe": content["recipe"]}
    found |= {f"{section}.{name}": value for section in SECTIONS for name, value in content[section].items()}
    if run.lr_finder_points.is_file():
        found["optimization.learning_rate"] = "auto"
    found |= {f"custom {part}": name for part, name in read_parts(run).items()}
    info = read_info(run.dataset_info)
    found["training images"] = f"{info.num_train:,}, sha256 {info.sha256.get('train', 'unknown')[:8]}"
    found |= made_of
    return {name: value for name, value in found.items() if name not in _without_effect()}


def common_settings(settings: Sequence[Settings]) -> dict[str, Any]:
    """Return the settings of several runs; where they differ, the value is a text that says so."""
    differing = differing_settings(settings)
    return {
        name: "differs between the members" if name in differing else settings[0].get(name)
        for name in dict.fromkeys(name for own in settings for name in own)
        if name != SEED
    }


def group_by_settings(settings: Sequence[Settings]) -> list[list[int]]:
    """Return the positions of the runs of each group, in the order of their first runs."""
    groups: list[list[int]] = []
    for position, own in enumerate(settings):
        same = (group for group in groups if _identity(settings[group[0]]) == _identity(own))
        group = next(same, None)
        if group is None:
            groups.append([position])
        else:
            group.append(position)
    return groups


def differing_settings(settings: Sequence[Settings]) -> dict[str, list[Any]]:
    """Return the settings, except for the seed, that are not equal in all runs: name -> value in each run."""
    names = dict.fromkeys(name for own in settings for name in own if name != SEED)
    values = {name: [own.get(name) for own in settings] for name in names}
    return {name: of_runs for name, of_runs in values.items() if any(value != of_runs[0] for value in of_runs)}


def _identity(settings: Settings) -> dict[str, Any]:
    """Return what repetitions have in common. The name of the recipe is none of it: its settings are all there."""
    return {name: value for name, value in settings.items() if name not in (SEED, "recipe")}


def _without_effect() -> set[str]:
    loggers = components("training/reporting/loggers.py", "logger").values()
    return {*WITHOUT_EFFECT, *(f"training.{setting.name}" for logger in loggers for setting in logger.settings)}
