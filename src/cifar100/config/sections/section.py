"""What all sections of a `Config` have in common: a section checks itself when it is made."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Hashable
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from cifar100.config.checks import check_ranges
from cifar100.config.conversion import convert
from cifar100.config.declarations import Setting, attribute_docstrings


class Section:
    """A section of a `Config`. Checks its settings when it is made."""

    def __post_init__(self) -> None:
        """Convert the values to the types of the settings, such as a list to a tuple, and check their ranges.

        Raises:
            UserError: names the setting, the value that was found and what is expected.
        """
        name = type(self).__name__.removesuffix("Config").lower()
        for setting in settings_of(type(self)):
            value = convert(f"{name}.{setting.name}", getattr(self, setting.name), setting.annotation)
            object.__setattr__(self, setting.name, value)
        check_ranges(self, name, settings_of(type(self)))

    if TYPE_CHECKING:  # the settings that components declare

        def __getattr__(self, setting: str) -> Any: ...


def settings_of(section: type[Any]) -> tuple[Setting, ...]:
    """Return the settings of a section, those that components declare included."""
    return _read_settings(cast(Hashable, section))  # mypy takes no class for hashable


@cache
def _read_settings(section: Any) -> tuple[Setting, ...]:
    source = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(source, ast.ClassDef)
    docstrings = attribute_docstrings(source) | getattr(section, "declared_help", {})
    types = get_type_hints(section, include_extras=True)
    return tuple(
        Setting(item.name, types[item.name], item.default, docstrings.get(item.name, "")) for item in fields(section)
    )
