"""Build the parts of a run from its settings, or use custom ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder, DatasetInfo
from cifar100.data.folder.splits import Split, stratified_split
from cifar100.data.image_batches import normalize
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.errors import UserError
from cifar100.models import NetworkSource, make_network, use_channels_last
from cifar100.training.lit_module import ImageClassifier
from cifar100.training.loss import Loss
from cifar100.training.optimization.clock import RunClock, steps_of
from cifar100.training.optimization.distillation import load_teacher

WHITENING_IMAGES = 5000
"""Number of training images from which `init_from_images` computes the first weights."""


@dataclass(frozen=True, kw_only=True)
class CustomParts:
    """Parts that a Python caller gives in place of those that the settings name."""

    network: NetworkSource | None = None
    loss: Loss | None = None
    datamodule: L.LightningDataModule | None = None
    """Has an attribute `num_classes`, and perhaps `class_names`. Its batches are images, float (N, 3, H, W) and
    normalised, and labels, int64 (N,)."""

    callbacks: Sequence[Callback] = ()
    loggers: Sequence[Logger] | None = None

    def __post_init__(self) -> None:
        """Check the types.

        Raises:
            UserError: names the argument.
        """
        for part, value in (("network", self.network), ("loss", self.loss)):
            if value is not None and not callable(value):
                raise UserError(f"{part} is {value!r:.80}, but it must be a module or a function.")
        for part, values, kind in (("callbacks", self.callbacks, Callback), ("loggers", self.loggers or (), Logger)):
            if not isinstance(values, (list, tuple)) or not all(isinstance(value, kind) for value in values):
                raise UserError(
                    f"{part} is {values!r:.80}, but it must be a list of Lightning's {kind.__name__} objects."
                )

    def names(self) -> dict[str, str]:
        """Return the parts that affect the result, each with the name of its class or function."""
        parts = {"network": self.network, "loss": self.loss, "datamodule": self.datamodule}
        return {part: _name(value) for part, value in parts.items() if value is not None}

    def describe_data(self) -> DatasetInfo | None:
        """Return the description of a custom data module; None if there is none.

        Raises:
            UserError: it has no valid attribute `num_classes`.
        """
        if self.datamodule is None:
            return None
        number = getattr(self.datamodule, "num_classes", None)
        if not isinstance(number, int) or number < 2:
            raise UserError(
                f"the data module {type(self.datamodule).__name__} has num_classes {number!r}, but it must be a whole "
                "number of at least 2; set this attribute in its __init__."
            )
        names = getattr(self.datamodule, "class_names", None) or [f"class {label}" for label in range(number)]
        return DatasetInfo(
            name=type(self.datamodule).__name__,
            origin="custom",
            class_names=tuple(map(str, names)),
            superclass_names=(),
            class_to_superclass=(),
            num_train=0,
            num_test=0,
            sha256={},
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )


@dataclass(frozen=True)
class Experiment:
    """The parts of a run."""

    config: Config
    info: DatasetInfo
    split: Split | None
    """None with a custom data module."""
    data: L.LightningDataModule
    module: ImageClassifier
    clock: RunClock
    steps_per_epoch: int
    image_shape: tuple[int, int, int]
    """Channels, height and width of an image."""


def make_split(config: Config) -> Split:
    """Split the prepared training images into training and validation images."""
    _, labels = DataFolder(config.data.root).load("train")
    return stratified_split(labels, fraction=config.data.validation_fraction, seed=config.data.split_seed)


def assemble(
    config: Config,
    info: DatasetInfo,
    split: Split | None,
    *,
    started: float | None = None,
    parts: CustomParts | None = None,
) -> Experiment:
    """Build data module, network and LightningModule. The same settings give the same first weights.

    Args:
        config: all settings; `optimization.learning_rate` is a number, unless the module is only trained by a test.
        info: the description of the data.
        split: the training and validation images; None with a custom data module.
        started: `time.monotonic()` at the start of the run, from which `training.max_minutes` counts. None: now.
        parts: custom parts.
    """
    parts = parts or CustomParts()
    data, steps_per_epoch, image_shape = _data(config, info, split, parts)
    training = config.training
    if training.limit_train_batches is not None:
        steps_per_epoch = min(training.limit_train_batches, steps_per_epoch)
    max_seconds = None if training.max_minutes is None else 60 * training.max_minutes
    max_steps = None if training.max_epochs is None else steps_of(training.max_epochs, steps_per_epoch)
    clock = RunClock(max_steps, max_seconds=max_seconds, started=started)
    teacher = None
    if isinstance(data, CifarDataModule):
        data.progress = lambda: clock.progress
    if config.optimization.teacher is not None:
        if split is None:
            raise UserError("--optimization.teacher needs the data of a data folder, not a custom data module.")
        teacher = load_teacher(config.optimization.teacher, info, split, mean=data.mean, std=data.std)
    torch.manual_seed(training.seed)
    network = make_network(parts.network, config.model, info.num_classes)
    _prepare_network(network, config, data)
    module = ImageClassifier(config, info.num_classes, network=network, loss=parts.loss, clock=clock, teacher=teacher)
    return Experiment(config, info, split, data, module, clock, steps_per_epoch, image_shape)


def _data(
    config: Config, info: DatasetInfo, split: Split | None, parts: CustomParts
) -> tuple[Any, int, tuple[int, int, int]]:
    """Return the data module, its steps per epoch and the shape of its images."""
    if parts.datamodule is None:
        assert split is not None
        data = CifarDataModule(config, info, split)
        return data, data.steps_per_epoch, (3, 32, 32)
    parts.datamodule.prepare_data()
    parts.datamodule.setup("fit")
    loader = parts.datamodule.train_dataloader()
    images, _ = next(iter(loader))
    channels, height, width = images.shape[1:]
    return parts.datamodule, math.ceil(len(loader) / config.training.num_processes), (channels, height, width)


def _prepare_network(network: nn.Module, config: Config, data: Any) -> None:
    """Set the weights that depend on the data, and the memory layout, in place."""
    init_from_images = getattr(network, "init_from_images", None)
    if init_from_images is not None and isinstance(data, CifarDataModule):
        init_from_images(_sample_images(data))
    elif init_from_images is not None:
        init_from_images(next(iter(data.train_dataloader()))[0])
    if config.training.channels_last:
        use_channels_last(network)


def _sample_images(data: CifarDataModule) -> Tensor:
    """Return evenly spaced training images, normalised: float32 (N, 3, 32, 32)."""
    every = max(1, len(data.split.train) // WHITENING_IMAGES)
    images, _ = data.folder.load("train")
    chosen = torch.from_numpy(images[data.split.train[::every][:WHITENING_IMAGES]])
    return normalize(chosen, torch.tensor(data.mean), torch.tensor(data.std))


def _name(part: Any) -> str:
    """Return the name of a function, a class or an object's class, without its module: a script is `__main__`."""
    name: str = getattr(part, "__name__", type(part).__name__)
    return name
