"""Merge defaults, recipe, configuration files and command line into one checked `Config`, and write it back as YAML.

A setting flows one way: dataclass default < recipe < configuration files, in order < command line.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from cifar100 import config as config_module
from cifar100.atomic_files import write_atomically
from cifar100.config import SECTIONS, Config
from cifar100.config_check import check
from cifar100.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

DEFAULT_RECIPE = "original"

MAX_FILE_BYTES = 1_000_000
"""A configuration file is a page of text; anything larger is a mistake."""

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
    recipe: str | None = None, *, files: Iterable[str | Path] = (), overrides: Overrides | None = None
) -> Config:
    """Merge all sources of settings and check the result.

    Args:
        recipe: a recipe's name; without it, the one that the last file names, else `original`.
        files: YAML files with any part of the settings; later ones win.
        overrides: settings by name, like `{"training.max_epochs": 3}`; they win over everything.

    Raises:
        UserError: an unknown recipe or key, a file that cannot be read, a value of the wrong kind or out of range.
    """
    from_files: dict[str, Any] = {}
    for file in files:
        from_files |= read_settings(Path(file))
    given = dict(overrides or {})
    _refuse_unknown(given, "")
    named = recipe or given.get("recipe") or from_files.get("recipe") or DEFAULT_RECIPE
    merged = {**read_recipe(str(named)).settings, **from_files, **given, "recipe": str(named)}
    config = _typed(merged)
    check(config)
    return config


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
    """Read a YAML file as setting name to value. The file is data: no tags, imports or variables are resolved.

    Raises:
        UserError: the file cannot be read, is not YAML, or holds an unknown setting.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{file} is larger than {MAX_FILE_BYTES:,} bytes; that is no configuration file.")
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
    """Return nested primitives (str, int, float, bool, None, list): what is saved in YAML, JSON and checkpoints."""
    plain: dict[str, Any] = {"recipe": config.recipe}
    for section in SECTIONS:
        plain[section] = {key: _plain(value) for key, value in asdict(getattr(config, section)).items()}
    return plain


def write_config(config: Config, path: Path, *, comment: str) -> None:
    """Write a file that `cifar100 train --config` reads back as the same `Config`."""
    text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    write_atomically(path, f"# {comment}\n{text}".encode())


@cache
def setting_names() -> tuple[str, ...]:
    """Return the name of every setting, `recipe` and `section.key`."""
    return ("recipe", *(f"{section}.{field.name}" for section in SECTIONS for field in fields(_class(section))))


def add_settings(parser: ArgumentParser) -> None:
    """Add one option for each setting to a command's parser, a group for each section."""
    for section in SECTIONS:
        parser.add_class_arguments(_class(section), section)


def clearer_message(error: Exception) -> str:
    """Turn jsonargparse's message on a value of the wrong kind into one line that says what is expected."""
    text = str(error)
    named = re.search(r'[Pp]arser key "([\w.]+)"', text)
    if named:
        value = re.search(r"(?:Given value|Got value): (.*)", text)
        found = f" is {value[1]}, but it" if value else ""
        annotation = _annotation(named[1]) if named[1] in setting_names() else int  # the only other is `predict --top`
        return f"--{named[1]}{found} must be {_expectation(annotation)}."
    missing = re.search(r"arguments are required: (.*)", text)
    if missing:
        return f"missing {missing[1].upper()}; --help shows how to give it."
    unknown = re.search(r"(?:unrecognized arguments:|does not accept option) (.*)", text, re.IGNORECASE)
    if unknown:
        option = unknown[1].split()[0].split("=")[0]
        hint = _did_you_mean(option.lstrip("-"), setting_names(), prefix="--")
        return f"unknown option {option}{hint} --help lists all options."
    return " ".join(text.split())


def _class(section: str) -> type[Any]:
    hint: type[Any] = get_type_hints(Config, vars(config_module))[section]
    return hint


def _annotation(setting: str) -> Any:
    section, _, key = setting.partition(".")
    return get_type_hints(_class(section), vars(config_module))[key] if key else str


def _expectation(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_expectation(argument) for argument in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if origin is tuple:
        inner, example = ("whole numbers", "[16, 24, 32]") if arguments[0] is int else ("numbers", "[0.2, 0.5, 0.9]")
        number = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"{number}{inner} in brackets, as in {example}"
    simple = {int: "a whole number", float: "a number", bool: "true or false", type(None): "null", Path: "a path"}
    return simple.get(annotation, "text")


def _typed(settings: Overrides) -> Config:
    """Check the kind of every value and build the dataclasses."""
    parser = ArgumentParser(exit_on_error=False)
    add_settings(parser)
    nested: dict[str, dict[str, Any]] = {}
    for setting, value in settings.items():
        section, _, key = setting.partition(".")
        if value is None and type(None) not in get_args(
            _annotation(setting)
        ):  # jsonargparse takes null for "not given"
            raise UserError(f"--{setting} is null, but it must be {_expectation(_annotation(setting))}.")
        if key:
            nested.setdefault(section, {})[key] = str(value) if isinstance(value, Path) else value
    try:
        parsed = parser.instantiate(parser.parse_object(nested))
    except Exception as error:  # jsonargparse raises several kinds; each speaks of one value
        raise UserError(clearer_message(error)) from error
    return Config(recipe=str(settings["recipe"]), **{section: parsed[section] for section in SECTIONS})


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


def _recipe_files() -> Iterable[Any]:
    return resources.files("cifar100.recipes").iterdir()
