"""Merge defaults, recipe, configuration files and command line into one `Config`, and write it back as YAML.

A setting flows one way: dataclass default < recipe < configuration files, in order < command line.
"""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cifar100.config import (
    COMPONENTS,
    SECTIONS,
    Config,
    chosen_components,
    component_default,
    section_settings,
    settings,
)
from cifar100.config.checks import without_effect
from cifar100.config.conversion import convert
from cifar100.config.declarations import components, is_family
from cifar100.config.settings_file import flatten, naming, read_settings
from cifar100.config.shown_values import shown
from cifar100.config.yaml_text import parse_yaml
from cifar100.errors import UserError
from cifar100.files.atomic import write_atomically
from cifar100.files.user_paths import user_path
from cifar100.foreign_text import printable

DEFAULT_RECIPE = "original"

Overrides = Mapping[str, Any]
"""Setting name, like `data.batch_size`, to value."""

PathLike = str | os.PathLike[str]

LENGTHS = ("training.max_epochs", "training.max_minutes")
RESOLUTIONS, CHANGES = "training.resolutions", "training.resolution_changes"
PRETRAINED, WEIGHTS = "model.pretrained", "model.weights"

ADDED_LATER = (
    *("data.exclude", "data.fold", "data.group_duplicates", "data.image_size", "data.num_folds", "data.sampler"),
    *("data.skip_damaged", "model.arguments", "model.blocks", "model.cache_features", "model.freeze"),
    *("model.logit_scale", "model.pretrained", "model.weights"),
    *("optimization.class_weights", "optimization.layer_decay", "training.profile"),
    *("training.wandb_project", "training.mlflow_uri", "training.mlflow_experiment"),
)
"""Settings that runs of earlier versions lack. Their defaults leave such a run as it was."""


@dataclass(frozen=True)
class Recipe:
    """A named set of differences from the defaults."""

    name: str
    about: dict[str, str]
    """`purpose`, and what was measured: `time`, `accuracy`, `hardware`."""
    settings: Overrides


def load_config(
    recipe: str | None = None, *, files: PathLike | Iterable[PathLike] = (), overrides: Overrides | None = None
) -> Config:
    """Merge all sources of settings into a checked `Config`.

    If the files or the overrides take away the effect of a recipe's setting, that setting returns to its default:
    `--optimization.sam none` also drops the recipe's `sam_rho`. A length that they give, in epochs or in minutes,
    replaces the recipe's. If they give both, the run ends with the first of the two.

    Args:
        recipe: name of a recipe. Default: the one that the last file names, else `original`. Files that hold every
            setting, such as the `config.yaml` of a run, need no recipe; the name in them is only kept.
        files: YAML files with some of the settings; later files take precedence.
        overrides: settings by name, like `{"training.max_epochs": 3}`; they take precedence over all other sources.

    Returns:
        All settings.

    Raises:
        UserError: an unknown recipe or setting, a file that cannot be read, a value of the wrong type or out of range,
            settings that contradict each other, or a setting without effect.
    """
    if not isinstance(overrides, Mapping | None):
        raise UserError(f"overrides is {shown(overrides)}, but it must be a dict of settings and values.")
    base, by_hand = _read_files(files)
    by_hand |= flatten(overrides or {}, "")
    in_files = base.pop("recipe", None)
    chosen = by_hand.pop("recipe", None) if recipe is None else recipe
    by_hand.pop("recipe", None)
    if chosen is None and (base or by_hand.keys() >= settings().keys()):
        return _build(_recipe_name(in_files), base, by_hand)
    named = _recipe_name(DEFAULT_RECIPE if chosen is None else chosen) or ""
    return _build(named, {**read_recipe(named).settings, **base}, by_hand)


def load_complete_config(file: Path, *, overrides: Overrides | None = None) -> Config:
    """Return the settings of a run's `config.yaml`, which holds all of them except those that were added later.

    Args:
        file: as `write_config` writes it.
        overrides: settings by name that replace those in the file.

    Raises:
        UserError: a setting is missing, or as `load_config`.
    """
    given = read_settings(file)
    missing = [name for name in settings() if name not in given and name not in ADDED_LATER]
    if missing:
        raise UserError(f"{file} lacks {missing[0]} and {len(missing) - 1} more settings; restore the file.")
    return load_config(files=[file], overrides=overrides)


def recipe_names() -> list[str]:
    """Return the names of all recipes, the default first."""
    names = sorted(file.name[:-5] for file in _recipe_files() if file.name.endswith(".yaml"))
    return sorted(names, key=lambda name: name != DEFAULT_RECIPE)


def read_recipe(name: str) -> Recipe:
    """Read a built-in recipe.

    Raises:
        UserError: there is no recipe of that name; the message lists those that exist.
    """
    known = recipe_names()
    if name not in known:
        file = f" {name} looks like a file: use --config or files=." if name.endswith((".yaml", ".yml")) else ""
        near = difflib.get_close_matches(name[:100], known, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise UserError(f"no recipe {printable(name, max_length=100)!r}{meant} Choose from: {', '.join(known)}.{file}")
    content = parse_yaml(resources.files("cifar100.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    about = content.pop("about")
    return Recipe(name, about, flatten(content, f" in recipe {name}"))


def to_dict(config: Config) -> dict[str, Any]:
    """Return nested primitives (str, int, float, bool, None, list) for YAML, JSON and checkpoints."""
    plain: dict[str, Any] = {"recipe": config.recipe}
    for section in SECTIONS:
        values = {
            setting.name: getattr(getattr(config, section), setting.name) for setting in section_settings(section)
        }
        plain[section] = {name: _plain(value) for name, value in values.items()}
    return plain


def config_from_dict(content: Mapping[str, Any]) -> Config:
    """Return the `Config` from which `to_dict` made `content`.

    Raises:
        UserError: a setting is unknown, or its value is not allowed.
    """
    flat = flatten(content, " in a saved configuration")
    recipe = _recipe_name(flat.pop("recipe", None))
    return _build(recipe, {}, flat)


def write_config(config: Config, path: Path, *, comment: str) -> None:
    """Write a file that `cifar100 train --config` reads back as the same experiment."""
    text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    write_atomically(path, f"# {printable(comment)}\n{text}".encode())


def add_settings(parser: argparse.ArgumentParser, *, recipe: str = DEFAULT_RECIPE) -> None:
    """Add an option for each setting to a parser, with a group for each section.

    An option that is not given sets no attribute. The help shows the values of a recipe as the defaults.
    """
    shown = read_recipe(recipe).settings
    for name, section in SECTIONS.items():
        group = parser.add_argument_group(name, (section.__doc__ or "").splitlines()[0])
        for setting in section_settings(name):
            full = f"{name}.{setting.name}"
            default = shown.get(full, component_default(full, shown) if setting.default is None else setting.default)
            text = f"{setting.help}{_names(full)} (default: {_text(default)})".replace("%", "%%")
            group.add_argument(f"--{full}", metavar="VALUE", default=argparse.SUPPRESS, help=text)


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings given on the command line: name -> text."""
    return {name: value for name, value in vars(options).items() if name in settings()}


def _read_files(files: PathLike | Iterable[PathLike]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the last file that holds all of them, and those of the partial files after it.

    The first kind is written by the program, perhaps an earlier version: it is a base as a recipe is. The second kind
    is written by hand.
    """
    if not isinstance(files, (str, os.PathLike, Iterable)):
        raise UserError(f"files is {shown(files)}, but it must be the path of a YAML file or a list of paths.")
    base: dict[str, Any] = {}
    by_hand: dict[str, Any] = {}
    for file in [files] if isinstance(files, (str, os.PathLike)) else files:
        path = user_path(file)
        content = read_settings(path)
        if content.keys() >= settings().keys() - set(ADDED_LATER):
            base, by_hand = {**{name: settings()[name].default for name in ADDED_LATER}, **content}, {}
            with naming(path):
                _build(None, {}, {name: base[name] for name in settings()})
        else:
            by_hand |= content
    return base, by_hand


def _recipe_name(value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise UserError(f"recipe is {shown(value)}, but it must be one of {', '.join(recipe_names())}.")
    return value


def _build(recipe: str | None, base: Overrides, by_hand: Overrides) -> Config:
    """Return the settings of a recipe or a complete file, with those given by hand in their place."""
    known = settings()
    given = {name: convert(name, value, known[name].annotation) for name, value in by_hand.items()}
    lower = {name: convert(name, value, known[name].annotation) for name, value in base.items()}
    values = {name: setting.default for name, setting in known.items()} | _replaced(lower, given) | given
    while True:  # a setting may need another one that has lost its effect
        lost = without_effect(values, known, chosen_components(values)).keys() - given.keys()
        if not lost:
            break
        values |= {name: known[name].default for name in lost}
    sections: dict[str, Any] = {
        name: section(**{setting.name: values[f"{name}.{setting.name}"] for setting in section_settings(name)})
        for name, section in SECTIONS.items()
    }
    return Config(recipe=recipe, **sections)


def _replaced(lower: dict[str, Any], given: Overrides) -> dict[str, Any]:
    """Return a base without the settings that others, given by hand, replace.

    A length replaces the other kind of length. Resolutions replace the changes between another number of them. Weights
    from a file replace those of the hub.
    """
    replaced = dict(lower)
    for one, other in (LENGTHS, LENGTHS[::-1]):
        if given.get(one) is not None and other not in given:
            replaced[other] = None
    if given.get(RESOLUTIONS) is not None and len(lower.get(CHANGES) or ()) != len(given[RESOLUTIONS]) - 1:
        replaced.pop(CHANGES, None)
    if given.get(WEIGHTS) is not None and PRETRAINED not in given:
        replaced.pop(PRETRAINED, None)
    return replaced


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    return list(value) if isinstance(value, tuple) else value


def _names(setting: str) -> str:
    """Return the sentence that lists the components which a setting can name; empty for other settings."""
    if setting not in COMPONENTS:
        return ""
    names = [f"{name}NAME" if is_family(name) else name for name in components(*COMPONENTS[setting])]
    return f" Names: {', '.join(names)}."


def _text(value: Any) -> str:
    return "null" if value is None else str(_plain(value)).lower() if isinstance(value, bool) else str(_plain(value))


def _recipe_files() -> Iterable[Any]:
    return resources.files("cifar100.recipes").iterdir()
