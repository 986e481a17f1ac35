"""Merge defaults, recipe, configuration files and command line into one `Config`, and write it back as YAML.

A setting flows one way: dataclass default < recipe < configuration files, in order < command line.
"""

from __future__ import annotations

import argparse
import difflib
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
from cifar100.config.declarations import components
from cifar100.errors import UserError
from cifar100.files.atomic import write_atomically
from cifar100.foreign_text import printable

DEFAULT_RECIPE = "original"

MAX_FILE_BYTES = 1_000_000
"""Maximum size of a configuration file; a larger file is a mistake."""

Overrides = Mapping[str, Any]
"""Setting name, like `data.batch_size`, to value."""


@dataclass(frozen=True)
class Recipe:
    """A named set of differences from the defaults."""

    name: str
    about: dict[str, str]
    """`purpose`, and what was measured: `time`, `accuracy`, `hardware`."""
    settings: Overrides


def load_config(
    recipe: str | None = None, *, files: str | Path | Iterable[str | Path] = (), overrides: Overrides | None = None
) -> Config:
    """Merge all sources of settings into a checked `Config`.

    If the files or the overrides take away the effect of a recipe's setting, that setting returns to its default:
    `--optimization.sam none` also drops the recipe's `sam_rho`.

    Args:
        recipe: name of a recipe. Default: the one that the last file names, else `original`. Files that hold every
            setting, such as the `config.yaml` of a run, need no recipe; the name in them is only kept.
        files: YAML files with some of the settings; later files take precedence.
        overrides: settings by name, like `{"training.max_epochs": 3}`; they take precedence over all other sources.

    Raises:
        UserError: an unknown recipe or setting, a file that cannot be read, a value of the wrong type or out of range,
            settings that contradict each other, or a setting without effect.
    """
    given: dict[str, Any] = {}
    for file in [files] if isinstance(files, (str, Path)) else files:
        given |= read_settings(Path(file))
    given |= overrides or {}
    _refuse_unknown(given, "")
    from_file = given.pop("recipe", None)
    named = from_file if recipe is None else recipe
    if recipe is None and given.keys() >= settings().keys():
        return _build(None if named is None else str(named), given, {})
    named = DEFAULT_RECIPE if named is None else str(named)
    from_recipe = dict(read_recipe(named).settings)
    if "training.max_epochs" in given and "training.max_minutes" not in given:
        from_recipe.pop("training.max_minutes", None)  # the length that is given wins
    return _build(named, given, from_recipe)


def load_complete_config(file: Path, *, overrides: Overrides | None = None) -> Config:
    """Return the settings of a run's `config.yaml`, which holds all of them.

    Args:
        file: as `write_config` writes it.
        overrides: settings by name that replace those in the file.

    Raises:
        UserError: a setting is missing, or as `load_config`.
    """
    given = read_settings(file)
    missing = [name for name in settings() if name not in given]
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
        raise UserError(f"no recipe {name!r}{_did_you_mean(name, known)} There are: {', '.join(known)}.")
    content = yaml.safe_load(resources.files("cifar100.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    about = content.pop("about")
    return Recipe(name, about, _flatten(content, f"recipe {name}"))


def read_settings(file: Path) -> dict[str, Any]:
    """Read a YAML file as setting name -> value. No tags, imports or variables are resolved.

    Raises:
        UserError: the file cannot be read, is not YAML, or holds an unknown setting.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{file} is larger than {MAX_FILE_BYTES:,} bytes; give a YAML file of settings.")
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"configuration file {file} cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"configuration file {file} is not valid YAML ({_yaml_problem(error)}).") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"configuration file {file} must hold sections like 'data:', but it holds {content!r:.60}.")
    content.pop("about", None)
    return _flatten(content, str(file))


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


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
    flat = _flatten(content, "a saved configuration")
    recipe = flat.pop("recipe", None)
    return _build(None if recipe is None else str(recipe), flat, {})


def write_config(config: Config, path: Path, *, comment: str) -> None:
    """Write a file that `cifar100 train --config` reads back as the same experiment."""
    text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    write_atomically(path, f"# {printable(comment)}\n{text}".encode())


def setting_names() -> tuple[str, ...]:
    """Return the name of every setting, `recipe` and `section.key`."""
    return ("recipe", *settings())


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


def unknown_option(option: str) -> str:
    """Return the message about an unknown option."""
    return f"unknown option {option}{_did_you_mean(option.lstrip('-'), setting_names(), prefix='--')} --help lists all."


def _build(recipe: str | None, given: Overrides, from_recipe: Overrides) -> Config:
    known = settings()
    merged = {name: convert(name, value, known[name].annotation) for name, value in {**from_recipe, **given}.items()}
    values = {name: setting.default for name, setting in known.items()} | merged
    while True:  # a setting may need another one that has lost its effect
        lost = without_effect(values, known, chosen_components(values)).keys() - given.keys()
        if not lost:
            break
        values |= {name: known[name].default for name in lost}
    sections = {
        name: section(**{setting.name: values[f"{name}.{setting.name}"] for setting in section_settings(name)})
        for name, section in SECTIONS.items()
    }
    return Config(recipe=recipe, **sections)


def _flatten(content: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """`{"data": {"root": 1}}` becomes `{"data.root": 1}`; keys already dotted are left as they are."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if key in SECTIONS:
            if not isinstance(value, dict):
                raise UserError(f"section {key!r} in {source} must hold settings, but it holds {value!r:.60}.")
            flat |= {f"{key}.{inner}": inner_value for inner, inner_value in value.items()}
        elif isinstance(value, dict):
            raise UserError(f"unknown section {key!r} in {source}{_did_you_mean(str(key), SECTIONS)}")
        else:
            flat[str(key)] = value
    _refuse_unknown(flat, f" in {source}")
    return flat


def _refuse_unknown(settings: Overrides, where: str) -> None:
    for setting in settings:
        if setting not in setting_names():
            raise UserError(f"unknown setting {setting!r}{where}{_did_you_mean(setting, setting_names())}")


def _did_you_mean(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1) or [name for name in known if name.endswith(f".{word}")][:1]
    return f"; did you mean {prefix}{close[0]}?" if close else "."


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _names(setting: str) -> str:
    """Return the sentence that lists the components which a setting can name; empty for other settings."""
    if setting not in COMPONENTS:
        return ""
    return f" Names: {', '.join(components(*COMPONENTS[setting]))}."


def _text(value: Any) -> str:
    return "null" if value is None else str(_plain(value)).lower() if isinstance(value, bool) else str(_plain(value))


def _recipe_files() -> Iterable[Any]:
    return resources.files("cifar100.recipes").iterdir()
