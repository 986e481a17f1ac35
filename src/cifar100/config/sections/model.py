"""Settings of the network and of the weights that it starts from, and those that augmentations and networks declare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cifar100.config.declarations import with_settings_of
from cifar100.config.sections.section import Section
from cifar100.config.types import Needs, NeedsAny


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
    """The network and the weights it starts from. A network's own settings are declared in its file in `models/`."""

    name: str = "resnet18"
    """Network. `null` for one of its settings selects the default of that network."""

    weights: Path | None = None
    """File of weights to start from: `.safetensors`, `.pt`, `.pth` or `.ckpt` of this program, torchvision, timm or
    another one. A classifier for other classes is replaced. null starts from random parameters."""

    freeze: Annotated[Literal["none", "stages", "backbone"], NeedsAny("model.pretrained", "model.weights")] = "none"
    """Weights that are not trained. `backbone`: all but the classifier. `stages`: the earlier half of the network's
    stages. Frozen layers run in evaluation mode: their batch normalisations keep their statistics."""

    cache_features: Annotated[bool, Needs("model.freeze", "backbone")] = False
    """With `freeze backbone`: compute the input of the classifier once for each image and train on it. Every epoch then
    takes seconds, but images cannot be augmented."""

    if TYPE_CHECKING:

        def __init__(self, *, name: str = "resnet18", **settings: Any) -> None: ...
