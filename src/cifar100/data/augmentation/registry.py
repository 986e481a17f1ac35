"""Finds the augmentations of this package: there is no list to edit."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from cifar100.config import AugmentationConfig
from cifar100.config.declarations import components
from cifar100.data.augmentation.base import Augmentation, Mixing


def discover() -> list[type[Augmentation] | type[Mixing]]:
    """Return the classes of augmentations and mixings that this package declares, in their order."""
    kinds = (components("data/augmentation", base) for base in ("Augmentation", "Mixing"))
    found = [component.load() for kind in kinds for component in kind.values()]
    return sorted(found, key=lambda kind: (kind.order, kind.__name__))


def build_augmentations(config: AugmentationConfig) -> list[Augmentation]:
    """Return the augmentations that are switched on, in the order in which they are applied."""
    return [one for one in _build(config) if isinstance(one, Augmentation)]


def build_mixings(config: AugmentationConfig) -> list[Mixing]:
    """Return the mixings that are switched on, in the order of the choice among them."""
    return [one for one in _build(config) if isinstance(one, Mixing)]


def _build(config: AugmentationConfig) -> list[Augmentation | Mixing]:
    built: list[Any] = [
        kind(**{field.name: getattr(config, field.name) for field in fields(kind)})  # type: ignore[arg-type]
        for kind in discover()
    ]
    return [one for one in built if one.enabled]
