"""The weights from which a network starts: those of a file, or those that timm publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cifar100.config import Config, ModelConfig
from cifar100.data.dataset_info import MAX_IMAGE_SIDE
from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.files.checksums import file_sha256
from cifar100.models import build_model
from cifar100.models.classifier import classifier_parameters
from cifar100.models.timm_networks import FAMILY, NativeInput, native_input, published_weights
from cifar100.runs.checkpoints import max_checkpoint_bytes
from cifar100.runs.weight_files import WeightFile, read_weights

_COUNTER = "num_batches_tracked"
"""Of a batch normalisation; older programs do not save it, and it has no effect."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the first weights of a run came from."""

    source: str
    """The file, or `timm/NAME from the hub`."""

    sha256: str | None
    """Of the file."""

    new: tuple[str, ...]
    """Parameters of the classifier that are random, because the weights are for other classes."""

    classes: int | None
    """Number of classes of the classifier that was replaced; None if there was none."""

    by_position: bool
    """Whether the weights were matched by order and shape: they have the names of another program."""

    def describe(self) -> str:
        """Return a phrase for the log."""
        named = "; matched by order and shape, as their names are another program's" if self.by_position else ""
        was = "" if self.classes is None else f", instead of one for {self.classes:,} classes"
        return f"{self.source}{named}" + (f"; new classifier ({', '.join(self.new)}){was}" if self.new else "")


def starts_from_weights(config: ModelConfig) -> bool:
    """Return whether a run does not start from random parameters."""
    return config.weights is not None or bool(config.pretrained)


def with_native_input(config: Config, *, scales_images: bool = True) -> Config:
    """Set the normalisation and the size of the images to those of the weights, unless the settings give others.

    A network of timm that is built for one size of images, such as a vision transformer, is built for that of the run.

    scales_images: False with a custom data module, whose images are taken as they are.

    Raises:
        UserError: timm is not installed, or has no such network; or the file cannot be read.
    """
    model, data = config.model, config.data
    normalization, side = None, data.image_size
    if model.weights is not None:
        file = _read(model, num_classes=2)
        normalization, side = file.normalization, side or file.image_size
    if model.name.startswith(FAMILY):
        native = native_input(model.name)
        if starts_from_weights(model):
            normalization = normalization or (native.mean, native.std)
            side = side or min(native.side // 8 * 8, MAX_IMAGE_SIDE)
        if native.is_fixed and scales_images:
            model = _built_for(model, side or data.side, native)
    elif side == data.side:
        side = data.image_size  # null says the same
    if data.mean is None and normalization is not None:
        data = replace(data, mean=normalization[0], std=normalization[1])
    if scales_images:
        data = replace(data, image_size=side)
    return replace(config, model=model, data=data)


def _built_for(model: ModelConfig, side: int, native: NativeInput) -> ModelConfig:
    """Return the settings of a network that is built for images of one size, unless they name it."""
    if side == native.side or any(argument.startswith("img_size") for argument in model.arguments):
        return model
    arguments: dict[str, Any] = {"arguments": (*model.arguments, f"img_size={side}")}  # declared in timm_networks
    return replace(model, **arguments)


def load_initial_weights(network: nn.Module, config: ModelConfig, num_classes: int) -> Origin | None:
    """Load the weights that the settings name into a network, in place; None if they name none.

    Weights on the device `meta` are compared and not loaded.

    Raises:
        UserError: the weights cannot be read or fetched, or are those of another network.
    """
    if not starts_from_weights(config):
        return None
    if config.weights is None:
        return _load(network, published_weights(config), source=f"{config.name}, published by timm")
    file = _read(config, num_classes=num_classes)
    sha256 = file_sha256(config.weights)
    return _load(network, file.weights, source=config.weights.as_posix(), sha256=sha256, is_ordered=file.is_ordered)


def check_initial_weights(config: ModelConfig, num_classes: int) -> None:
    """Refuse weights that do not fit, before there is a run folder. The settings name some.

    Raises:
        UserError: as `load_initial_weights`.
    """
    with torch.device("meta"):
        network = build_model(config, num_classes)
    load_initial_weights(network, config, num_classes)


def remember_origin(origin: Origin, path: Path) -> None:
    """Write where the first weights of a run came from."""
    write_json(asdict(origin), path)


def _read(config: ModelConfig, *, num_classes: int) -> WeightFile:
    assert config.weights is not None
    with torch.device("meta"):
        network = build_model(config, num_classes)
    return read_weights(config.weights, max_bytes=max_checkpoint_bytes(network))


def _load(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    source: str,
    sha256: str | None = None,
    is_ordered: bool = True,
) -> Origin:
    expected = network.state_dict()
    classifier = classifier_parameters(network)
    found, by_position = dict(weights), False
    difference = _difference(found, expected, classifier)
    if difference and is_ordered:
        renamed = _by_position(weights, expected, classifier)
        by_position = renamed is not None
        found = found if renamed is None else renamed
    if difference and not by_position:
        raise UserError(
            f"the weights of {source} belong to another network: {difference}; use weights of this network, or set "
            "--model.name and its settings, such as --model.stem, to match."
        )
    new = tuple(sorted(name for name in classifier if name not in found or found[name].shape != expected[name].shape))
    classes = next((len(found[name]) for name in new if name in found), None)
    fitting = {name: value for name, value in found.items() if name in expected and name not in new}
    for name, value in fitting.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"the weights of {source} are not finite ({name}); use others.")
    if not any(value.is_meta for value in expected.values()):
        network.load_state_dict(fitting, strict=False)
    return Origin(source=source, sha256=sha256, new=new, classes=classes, by_position=by_position)


def _difference(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], classifier: frozenset[str]) -> str:
    """Return the first difference that is not in the classifier; empty if there is none."""
    for name in expected:
        if name.endswith(_COUNTER) or name in classifier:
            continue
        if name not in weights:
            return f"{name} is missing in them"
        if weights[name].shape != expected[name].shape:
            return f"{name} is {tuple(weights[name].shape)} in them and {tuple(expected[name].shape)} in the network"
        if weights[name].is_floating_point() != expected[name].is_floating_point():
            return f"{name} is {weights[name].dtype} in them and {expected[name].dtype} in the network"
    unknown = [name for name in weights if name not in expected and not name.endswith(_COUNTER)]
    return f"they have {unknown[0]}, which the network does not have" if unknown else ""


def _by_position(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], classifier: frozenset[str]
) -> dict[str, Tensor] | None:
    """Return the weights under the network's names, if both list the same kinds and shapes in the same order.

    The kind is the last part of a name, such as `running_mean`. In a list that was sorted by name, block 10 stands
    before block 2, and weights of one shape would be confused: such a list is not matched.
    """
    names = [name for name in weights if not name.endswith(_COUNTER)]
    own = [name for name in expected if not name.endswith(_COUNTER)]
    if len(names) != len(own) or names == sorted(names):
        return None
    renamed: dict[str, Tensor] = {}
    for name, mine in zip(names, own, strict=True):
        value = weights[name]
        same_shape = value.shape == expected[mine].shape or (mine in classifier and value.ndim == expected[mine].ndim)
        if name.rpartition(".")[2] != mine.rpartition(".")[2] or not same_shape:
            return None
        renamed[mine] = value
    return renamed
