"""Finds the augmentations of this package: no list to edit."""

from __future__ import annotations

import pkgutil
from dataclasses import fields
from importlib import import_module

import cifar100.data.augmentation as package
from cifar100.data.augmentation.base import Augmentation, Mixing


def discover() -> list[type[Augmentation] | type[Mixing]]:
    """Return the augmentations and mixings that the modules of this package define, in their order."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    # single_image holds none, and imports Albumentations, which takes seconds.
    modules = [import_module(f"{package.__name__}.{name}") for name in names if name not in ("base", "single_image")]
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Augmentation | Mixing) and value.__module__ == module.__name__
    ]
    return sorted(found, key=lambda kind: (kind.order, kind.__name__))


def build_augmentations(settings: object) -> list[Augmentation]:
    """Make the augmentations that are switched on, in the order in which they are applied.

    settings: has a field for each setting of each augmentation, such as `AugmentationConfig`.
    """
    return [one for one in _build(settings) if isinstance(one, Augmentation)]


def build_mixings(settings: object) -> list[Mixing]:
    """Make the mixings that are switched on, in the order of the choice among them. settings: as above."""
    return [one for one in _build(settings) if isinstance(one, Mixing)]


def _build(settings: object) -> list[Augmentation | Mixing]:
    made = [
        kind(**{field.name: getattr(settings, field.name) for field in fields(kind)})  # type: ignore[arg-type]
        for kind in discover()
    ]
    return [one for one in made if one.enabled]
