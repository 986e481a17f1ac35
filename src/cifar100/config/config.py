"""All settings of one experiment, as one object that checks itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any

from cifar100.config.checks import check_combinations, check_effects
from cifar100.config.declarations import Setting, component_named, components
from cifar100.config.sections.chosen import COMPONENTS, as_tuple, chosen_components, component_defaults
from cifar100.config.sections.data import DataConfig
from cifar100.config.sections.model import AugmentationConfig, ModelConfig
from cifar100.config.sections.optimization import OptimizationConfig
from cifar100.config.sections.section import settings_of
from cifar100.config.sections.training import TrainingConfig
from cifar100.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one experiment.

    Raises:
        UserError: settings contradict each other, or one has no effect; names both.
    """

    recipe: str | None = None
    """Recipe that the settings are based on; `cifar100 recipes` lists them. null is none."""

    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Fill in the defaults of the chosen components, then check what a section cannot check by itself."""
        for name, kind in SECTIONS.items():
            if not isinstance(getattr(self, name), kind):
                raise UserError(f"{name} is {getattr(self, name)!r:.80}, but it must be a {kind.__name__}.")
        values = {name: get(self, name) for name in settings()}
        for name, value in component_defaults(values).items():
            section, _, key = name.partition(".")
            object.__setattr__(self, section, replace(getattr(self, section), **{key: value}))
            values[name] = value
        check_effects(values, settings(), chosen_components(values))
        check_combinations(self)


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "data": DataConfig,
        "augmentation": AugmentationConfig,
        "model": ModelConfig,
        "optimization": OptimizationConfig,
        "training": TrainingConfig,
    }
)
"""The sections of a `Config`, in the order in which they are shown."""


def get(config: Config, setting: str) -> Any:
    """Return the value of a setting named like `data.batch_size`."""
    section, _, key = setting.partition(".")
    return getattr(getattr(config, section), key) if key else getattr(config, section)


@cache
def settings() -> dict[str, Setting]:
    """Return every setting by its full name, such as `data.batch_size`."""
    return {f"{name}.{setting.name}": setting for name in SECTIONS for setting in section_settings(name)}


def section_settings(name: str) -> tuple[Setting, ...]:
    """Return the settings of a section, such as `data`."""
    return settings_of(SECTIONS[name])


def component_default(setting: str, values: Mapping[str, Any]) -> Any:
    """Return the default that a component declares for a setting; that of the chosen one if it takes the setting.

    values: settings by their full names; those that are missing have their defaults.
    """
    section, _, key = setting.partition(".")
    for selector, (path, marker) in COMPONENTS.items():
        if selector.startswith(f"{section}."):
            known = components(path, marker)
            chosen = as_tuple(values.get(selector, settings()[selector].default))
            for name in [*chosen, *known]:
                for declared in component_named(name, known).settings:
                    if declared.name == key:
                        return declared.default
    return None
