"""Check the arguments of the Python functions as the command line checks its options: one sentence for each mistake."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from cifar100.config.config import Config
from cifar100.config.shown_values import shown
from cifar100.errors import UserError


def check_config(config: Any) -> None:
    """Refuse anything but a `Config` or None.

    Raises:
        UserError: says how to make one.
    """
    if isinstance(config, Config | None):
        return
    how = "make one with load_config"
    if isinstance(config, str):
        given = f"files={config!r:.80}" if config.endswith((".yaml", ".yml")) else f"{config!r:.80}"
        how = f"pass load_config({given})"
    elif isinstance(config, dict):
        how = "pass load_config(overrides={...})"
    elif isinstance(config, os.PathLike):
        how = "pass load_config(files=...)"
    raise UserError(f"config is {shown(config)}, but it must be a Config; {how}.")


def check_flag(name: str, value: Any) -> None:
    """Refuse anything but a bool: `"false"` is true.

    Raises:
        UserError: names the argument.
    """
    if not isinstance(value, bool):
        raise UserError(f"{name} is {shown(value)}, but it must be True or False.")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse anything but one of the choices.

    Raises:
        UserError: names the argument and the choices.
    """
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{name} is {shown(value)}, but it must be {' or '.join(choices)}.")


def check_mapping(name: str, value: Any) -> None:
    """Refuse anything but a dict or None.

    Raises:
        UserError: names the argument.
    """
    if not isinstance(value, dict | None):
        raise UserError(f'{name} is {shown(value)}, but it must be a dict such as {{"training.max_epochs": 80}}.')


def run_arguments(runs: Any) -> list[str | os.PathLike[str]]:
    """Return several runs as a list.

    Raises:
        UserError: it is one run, or holds something else than names and paths.
    """
    if isinstance(runs, (str, os.PathLike)) or not isinstance(runs, Iterable):
        raise UserError(f"runs is {shown(runs)}, but it must be a list of run folders or experiment names.")
    found = list(runs)
    for run in found:
        if not isinstance(run, (str, os.PathLike)):
            raise UserError(f"runs holds {_kind(run)}, but it must be a list of run folders or experiment names.")
    return found


def _kind(value: Any) -> str:
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    return f"a value of type {kind}" if shape is None else f"a {kind} {shown(tuple(shape))}"
