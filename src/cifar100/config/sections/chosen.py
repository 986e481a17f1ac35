"""The components that a configuration chooses: network, loss, loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cifar100.config.declarations import component_named, components

COMPONENTS = {
    "model.name": ("models", "network"),
    "optimization.loss": ("training/loss.py", "loss"),
    "training.loggers": ("training/reporting/loggers.py", "logger"),
}
"""Settings that name a component or list several, and where such components are declared."""


def chosen_components(values: Mapping[str, Any]) -> dict[str, tuple[str, frozenset[str], frozenset[str]]]:
    """Return, for each of `COMPONENTS`, the chosen name, the settings it takes, and those that only others take.

    values: every setting by its full name.
    """
    chosen = {}
    for selector, (path, marker) in COMPONENTS.items():
        section = selector.partition(".")[0]
        known = components(path, marker)
        names = {name: {f"{section}.{setting.name}" for setting in known[name].settings} for name in known}
        in_use = [component_named(name, known).name for name in as_tuple(values[selector])]
        taken = set().union(*(names[name] for name in in_use))
        others = set().union(*names.values()) - taken
        chosen[selector] = (", ".join(as_tuple(values[selector])), frozenset(taken), frozenset(others))
    return chosen


def component_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of components that must change so that only the chosen components have values.

    A setting of the chosen component that is `null` becomes the component's default. A setting that only other
    components take becomes `null` if it equals a default of theirs, so that `replace(config.model, name="fast_net")`
    need not reset it.
    """
    found: dict[str, Any] = {}
    for selector, (path, marker) in COMPONENTS.items():
        section = selector.partition(".")[0]
        known = components(path, marker)
        in_use = [component_named(name, known) for name in as_tuple(values[selector])]
        chosen = {setting.name: setting.default for component in in_use for setting in component.settings}
        found |= {f"{section}.{name}": value for name, value in chosen.items() if values[f"{section}.{name}"] is None}
        others = {(setting.name, setting.default) for component in known.values() for setting in component.settings}
        found |= {
            f"{section}.{name}": None
            for name, default in others
            if name not in chosen and values[f"{section}.{name}"] == default
        }
    return found


def as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that a setting lists; a single one as a tuple."""
    return (value,) if isinstance(value, str) else value
