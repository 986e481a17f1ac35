"""Settings that are declared in the files of augmentations and networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifar100.config.declarations import with_settings_of
from cifar100.config.sections.section import Section


@dataclass(frozen=True, kw_only=True)
@with_settings_of("data/augmentation", "Mixing")
@with_settings_of("data/augmentation", "Augmentation")
class AugmentationConfig(Section):
    """Random changes to the training images. Validation and test images are never changed."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...


@dataclass(frozen=True, kw_only=True)
@with_settings_of("models", "network", chosen_by="name")
class ModelConfig(Section):
    """The network. Its own settings are declared in its file in `models/`."""

    name: str = "resnet18"
    """Network. `null` for one of its settings selects the default of the network."""

    if TYPE_CHECKING:

        def __init__(self, *, name: str = "resnet18", **settings: Any) -> None: ...
