"""The file of the trials: one line of JSON each. All lines of a file are of the same settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo
from cifar100.errors import UserError
from cifar100.files.atomic import what_to_do
from cifar100.files.regular import MAX_JSON_BYTES, open_to_append, read_text
from cifar100.settings import config_from_dict, to_dict

Line = dict[str, Any]
"""Of one trial: its seed or fold, what it reached, and the settings that all trials share."""

_NOT_COMPARED = {"training": ("seed",), "data": ("root", "source", "fold", "num_workers")}
"""Settings in which the trials of one file may differ."""


def shared_facts(config: Config, info: DatasetInfo, *, split: str, checkpoint: str) -> Line:
    """Return what all trials of a file have in common, as a file will hold it."""
    facts = {
        **{"recipe": config.recipe, "split": split, "checkpoint": checkpoint, "data": info.describe()},
        **{"train_sha256": info.sha256.get("train"), "settings": _compared_settings(config)},
    }
    read: Line = json.loads(json.dumps(facts, default=str))
    return read


def _compared_settings(config: Config) -> dict[str, Any]:
    settings = to_dict(config)
    settings.pop("recipe")
    for section, names in _NOT_COMPARED.items():
        settings[section] = {name: value for name, value in settings[section].items() if name not in names}
    return settings


def read_lines(file: Path, facts: Mapping[str, Any]) -> list[Line]:
    """Read the trials of a file; none if there is no file.

    Raises:
        UserError: it is damaged, or its trials have other settings.
    """
    try:
        text = read_text(file, limit=MAX_JSON_BYTES)
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read ({error}); remove the damaged line, or choose another --name."
        ) from error
    for line in lines:
        found = {name: line.get(name) for name in facts} if isinstance(line, dict) else {}
        found["settings"] = _completed(found.get("settings"))
        difference = first_difference(found, dict(facts))
        if difference:
            raise UserError(f"{file} holds trials with other settings ({difference}); choose another --name.")
    return lines


def _completed(settings: Any) -> Any:
    """Return the settings of a line with those that its version did not have, which have their defaults."""
    try:
        config = config_from_dict(settings if isinstance(settings, dict) else {})
    except UserError:  # a setting that is unknown here: the difference is reported
        return settings
    return json.loads(json.dumps(_compared_settings(config), default=str))


def first_difference(found: Any, wanted: Any, name: str = "") -> str:
    """Return `name: found there, wanted here` for the first difference of two nested dicts; empty for none."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        differences = (
            first_difference(found.get(key), wanted.get(key), f"{name}.{key}".removeprefix("."))
            for key in sorted(found.keys() | wanted.keys())
        )
        return next(filter(None, differences), "")
    return "" if found == wanted else f"{name}: {found} there, {wanted} here"


def append_line(line: Line, file: Path) -> None:
    """Add a line to the file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with open_to_append(file) as opened:
            opened.write(f"{json.dumps(line)}\n".encode())
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror or error}); {what_to_do(error)}.") from error
