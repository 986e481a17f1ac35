"""The commands that list things: `runs`, `recipes`, `models`, `info`."""

from __future__ import annotations

import platform
from os import PathLike
from typing import TYPE_CHECKING, Any

from cifar100.commands.loading import loading
from cifar100.files.user_paths import user_path

if TYPE_CHECKING:
    from cifar100.models.facts import ModelFacts
    from cifar100.runs.listing import RunSummary


def list_runs() -> list[RunSummary]:
    """List the runs in `logs/` with their status.

    Those of `trials` and `sweep` are in subfolders and are not listed.

    Returns:
        The most recently updated last. What a damaged file would say is empty or None.
    """
    from cifar100.runs.listing import list_runs

    return list_runs()


def list_recipes() -> list[dict[str, str]]:
    """List the recipes: name, purpose, measured time and accuracy.

    Returns:
        For each recipe its `name`, `purpose`, `time` and `accuracy`, as text.
    """
    from cifar100.settings import read_recipe, recipe_names

    return [{"name": name, **read_recipe(name).about} for name in recipe_names()]


def list_models(pattern: str | None = None) -> list[ModelFacts]:
    """List the networks: paper, size, speed and published accuracy.

    Args:
        pattern: networks of timm instead of this program's, such as `timm/*lite*`; they are built to be measured.

    Returns:
        The facts of each network, which are None if they are not known.

    Raises:
        UserError: the pattern does not begin with `timm/`, matches nothing, or timm is not installed.
    """
    from cifar100.models.facts import model_facts, timm_facts

    return model_facts() if pattern is None else timm_facts(pattern)


def info(root: str | PathLike[str] = "dataset") -> dict[str, Any]:
    """Show versions, system, devices and the state of the data.

    Args:
        root: data folder to look at.

    Returns:
        Facts by name, as text, in the sections `versions`, `devices` and `data`.

    Raises:
        UserError: `root` is no path.
    """
    with loading():
        from cifar100.environment import describe_data, describe_devices, describe_versions

        versions = {**describe_versions(), "system": platform.platform()}
        return {"versions": versions, "devices": describe_devices(), "data": describe_data(user_path(root))}
