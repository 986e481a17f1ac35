"""The file of a sweep: the recipe to start from, the settings that are varied, and how long to search.

recipe: laptop
trials: 24
fixed: {training.max_minutes: 1, data.validation_fraction: 0.1}
space:
  optimization.muon_learning_rate: {low: 0.02, high: 0.5, log: true}
  data.batch_size: [256, 512, 1024]
  optimization.sam: [none, friendly]
  optimization.sam_rho: {low: 0.05, high: 0.3, when: {optimization.sam: friendly}}
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cifar100.config import SECTIONS, Config, get
from cifar100.config.settings_file import MAX_FILE_BYTES, naming
from cifar100.config.shown_values import shown
from cifar100.config.suggestions import did_you_mean
from cifar100.config.yaml_text import parse_yaml
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.files.regular import read_text
from cifar100.foreign_text import reason
from cifar100.search.sweep.parameters import Parameter, Value, check_setting, checked, ordered, plain, read_parameter
from cifar100.settings import DEFAULT_RECIPE, load_config

Sampler = Literal["tpe", "random"]
Pruner = Literal["median", "hyperband", "none"]

_KEYS = ("recipe", "trials", "minutes", "fixed", "space", "sampler", "pruner", "warmup_epochs", "seed")

_OBJECTIVE = ("objective", "metric", "monitor", "split", "direction", "test", "goal")
"""Keys of other programs, for what is fixed here."""

NUM_TRIED = 200
"""Combinations of values that are checked before anything is trained."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a sweep searches."""

    recipe: str
    fixed: Mapping[str, Value]
    """Settings that all trials share, instead of the recipe's."""

    parameters: tuple[Parameter, ...]
    """The settings that are varied; each follows those on which it depends."""

    trials: int | None
    """Number of trials; None: no limit."""

    minutes: float | None
    """Minutes of a command after which no trial begins; None: no limit."""

    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    warmup_epochs: int = 1
    """Epochs of a trial before which it is not pruned."""

    seed: int = 0
    """Of the sampler."""

    def config(self, values: Mapping[str, Value]) -> Config:
        """Return the settings of a trial with some values of the parameters."""
        return load_config(self.recipe, overrides={**self.fixed, **values})

    def start(self) -> dict[str, Value]:
        """Return the values that the recipe and `fixed` give the parameters."""
        config = self.config({})
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.applies(values):
                values[parameter.name] = get(config, parameter.name)
        return values

    def identity(self) -> dict[str, Any]:
        """Return what all commands on one sweep have in common, as plain values for JSON."""
        return {
            "recipe": self.recipe,
            "fixed": {name: plain(value) for name, value in sorted(self.fixed.items())},
            "space": {
                parameter.name: f"{parameter}"
                + "".join(f"; {other} {', '.join(map(shown, of))}" for other, of in parameter.when.items())
                for parameter in self.parameters
            },
        }


def read_space(file: Path) -> Space:
    """Read the file of a sweep and check every combination of its values, as far as they can be tried.

    Raises:
        UserError: the file cannot be read, names an unknown setting or an empty range, or settings that do not fit.
    """
    try:
        content = parse_yaml(read_text(file, limit=MAX_FILE_BYTES))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as a sweep ({reason(error)}); correct the file or the path.") from error
    with naming(file):
        if not isinstance(content, dict):
            raise UserError(f"expected the keys {', '.join(_KEYS)}, found {shown(content)}.")
        space = _read(content)
        _check_combinations(space)
    return space


def _read(content: dict[str, Any]) -> Space:
    for key in content:
        if key in _OBJECTIVE:
            raise UserError(
                f"{key!r} cannot be set: the objective is the validation accuracy, and test images are not used; "
                "remove it."
            )
        if key not in _KEYS:
            meant = did_you_mean(str(key), _KEYS)
            raise UserError(f"unknown key {shown(key)!r}{meant} Choose from: {', '.join(_KEYS)}.")
    fixed = _flat(content.get("fixed"), "fixed")
    for name in fixed:
        check_setting(name, "fixed")
    entries = _flat(content.get("space"), "space")
    if not entries:
        raise UserError("space is empty; add at least one setting, as in data.batch_size: [128, 256].")
    for name in fixed.keys() & entries.keys():
        raise UserError(f"{name} is both under fixed and in the space; remove one.")
    return Space(
        recipe=_recipe(content.get("recipe", DEFAULT_RECIPE)),
        fixed={name: checked(name, value, "fixed") for name, value in fixed.items()},
        parameters=ordered(read_parameter(name, entry) for name, entry in entries.items()),
        **_limits(content),
        sampler=_one_of("sampler", content.get("sampler", "tpe"), get_args(Sampler)),
        pruner=_one_of("pruner", content.get("pruner", "median"), get_args(Pruner)),
        warmup_epochs=_number("warmup_epochs", content.get("warmup_epochs", 1), whole=True, minimum=0),
        seed=_number("seed", content.get("seed", 0), whole=True, minimum=0),
    )


def _limits(content: dict[str, Any]) -> dict[str, Any]:
    trials, minutes = content.get("trials"), content.get("minutes")
    if trials is None and minutes is None:
        raise UserError("neither trials nor minutes is given, so the sweep would never end; set at least one.")
    return {
        "trials": None if trials is None else _number("trials", trials, whole=True, minimum=1),
        "minutes": None if minutes is None else _number("minutes", minutes, whole=False, minimum=0),
    }


def _check_combinations(space: Space) -> None:
    """Build the settings of the recipe and of many combinations of ends and choices.

    Raises:
        UserError: a combination is refused, or leaves no validation images; names its values.
    """
    start = space.config({})
    if start.data.validation_fraction == 0 and start.data.num_folds is None and not _may_have_own_split(start):
        raise UserError(
            f"recipe {space.recipe} trains on all images and leaves no validation images to choose by; add "
            "fixed: {data.validation_fraction: 0.1}."
        )
    chosen = random.Random(0)
    for _ in range(NUM_TRIED):
        values: dict[str, Value] = {}
        for parameter in space.parameters:
            if parameter.applies(values):
                values[parameter.name] = chosen.choice(parameter.corners())
        try:
            space.config(values)
        except UserError as error:
            shown_values = ", ".join(f"{name} {shown(value)}" for name, value in values.items())
            raise UserError(
                f"the space holds an invalid combination ({shown_values}): {error} Narrow the space, or add a "
                "condition to a setting, as in when: {SETTING: VALUE}."
            ) from error


def _may_have_own_split(config: Config) -> bool:
    """Return whether these are custom data, which may name their own validation images; training looks into them."""
    return DataFolder(config.data.root, config.data.side).is_custom()


def _recipe(name: Any) -> str:
    if not isinstance(name, str):
        raise UserError(f"recipe is {shown(name)}, but it must be the name of a recipe.")
    load_config(name)
    return name


def _flat(content: Any, where: str) -> dict[str, Any]:
    """Return settings by their full names; they may be written below their sections."""
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{where} is {shown(content)}, but it must hold settings, as in data.batch_size: ...")
    flat: dict[str, Any] = {}
    for key, value in content.items():
        is_section = key in SECTIONS and isinstance(value, dict)
        inside = {f"{key}.{name}": inner for name, inner in value.items()} if is_section else {str(key): value}
        for name in inside.keys() & flat.keys():
            raise UserError(f"{where}: {name} is given twice; remove one.")
        flat |= inside
    return flat


def _one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    text = "none" if value is None else value
    if text not in choices:
        raise UserError(f"{name} is {shown(value)}, but it must be one of {', '.join(choices)}.")
    return text


def _number(name: str, value: Any, *, whole: bool, minimum: float) -> Any:
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not is_number or value < minimum or (not whole and value <= minimum) or value > 10**9:
        above = "at least" if whole else "above"
        raise UserError(f"{name} is {shown(value)}, but it must be a {'whole ' * whole}number {above} {minimum:g}.")
    return value
