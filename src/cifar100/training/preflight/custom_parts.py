"""The parts that a Python caller gives instead of those that the settings name, and what they replace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from cifar100.config import Config, get, settings
from cifar100.config.declarations import components
from cifar100.config.shown_values import shown
from cifar100.data.dataset_info import DatasetInfo
from cifar100.errors import UserError
from cifar100.models import NetworkSource
from cifar100.runs.folder import find_run_folder, read_parts
from cifar100.settings import load_config, recipe_names
from cifar100.training.loss import Loss

USED_WITH_CUSTOM_DATA = frozenset({"data.mean", "data.std"})
"""Settings of the data that still have an effect with a custom data module: `load_model` normalises with them."""


@dataclass(frozen=True, kw_only=True)
class CustomParts:
    """Parts that a Python caller gives instead of those that the settings name."""

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
                raise UserError(f"{part} is {shown(value)}, but it must be a module or a function.")
        if not isinstance(self.datamodule, L.LightningDataModule | None):
            raise UserError(f"datamodule is {shown(self.datamodule)}, but it must be a LightningDataModule object.")
        for part, values, kind in (("callbacks", self.callbacks, Callback), ("loggers", self.loggers or (), Logger)):
            if not isinstance(values, (list, tuple)) or not all(isinstance(value, kind) for value in values):
                raise UserError(
                    f"{part} is {shown(values)}, but it must be a list of Lightning's {kind.__name__} objects."
                )

    def are_given(self) -> bool:
        """Return whether there is any part."""
        return bool(self.names() or self.callbacks or self.loggers)

    def names(self) -> dict[str, str]:
        """Return the parts that affect the result, each with the name of its class or function."""
        parts = {"network": self.network, "loss": self.loss, "datamodule": self.datamodule}
        return {part: _name(value) for part, value in parts.items() if value is not None}

    def describe_data(self) -> DatasetInfo | None:
        """Return the description of a custom data module; None if there is none.

        Raises:
            UserError: it has no valid attribute `num_classes`, or `class_names` are not that many names.
        """
        if self.datamodule is None:
            return None
        module = type(self.datamodule).__name__
        number = getattr(self.datamodule, "num_classes", None)
        if not isinstance(number, int) or isinstance(number, bool) or number < 2:
            raise UserError(
                f"the data module {module} has num_classes {shown(number)}, but it must be a whole number of at least "
                "2; set this attribute in its __init__."
            )
        names = getattr(self.datamodule, "class_names", None)
        if names is None:
            names = [f"class {label}" for label in range(number)]
        if (
            not isinstance(names, (list, tuple))
            or not all(isinstance(name, str) for name in names)
            or len(set(names)) != number
        ):
            raise UserError(
                f"the data module {module} has class_names {shown(names)}, but it must be a list of {number:,} "
                "different names, one for each of num_classes."
            )
        return DatasetInfo(
            name=module,
            origin="custom",
            class_names=tuple(names),
            superclass_names=(),
            class_to_superclass=(),
            num_train=0,
            num_test=0,
            sha256={},
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )

    def check_settings(self, config: Config) -> None:
        """Refuse settings that have no effect or cannot work beside these parts, and a teacher that cannot teach.

        A setting that the recipe has is accepted. One that was given by hand differs from the recipe.

        Raises:
            UserError: names the setting.
        """
        recipe = load_config(config.recipe) if config.recipe in recipe_names() else Config()
        for name, part in self._replaced(config):
            if get(config, name) != get(recipe, name):
                raise UserError(
                    f"--{name} {shown(get(config, name))} has no effect: {part}= replaces what it belongs to; leave it "
                    "out."
                )
        if self.datamodule is not None and config.model.cache_features:
            raise UserError(
                "--model.cache_features needs the images of a data folder, not a custom data module; set "
                "--model.cache_features false."
            )
        teacher = config.optimization.teacher
        if teacher is None:
            return
        if self.datamodule is not None:
            raise UserError("--optimization.teacher needs the data of a data folder, not a custom data module.")
        for part in ("network", "datamodule"):
            custom = read_parts(find_run_folder(teacher)).get(part)
            if custom is not None:
                raise UserError(
                    f"--optimization.teacher {teacher} was trained from Python with {part}={custom}, which its "
                    "config.yaml cannot name; choose a teacher without custom parts."
                )

    def _replaced(self, config: Config) -> Iterator[tuple[str, str]]:
        """Yield each setting that has no effect, with the part that replaces it."""
        if self.network is not None:
            yield from ((name, "network") for name in settings() if name.startswith("model."))
        if self.loss is not None:
            yield from (("optimization.loss", "loss"), ("optimization.class_weights", "loss"))
            for component in components("training/loss.py", "loss").values():
                yield from ((f"optimization.{setting.name}", "loss") for setting in component.settings)
        if self.loggers is not None:
            yield "training.loggers", "loggers"
        if self.datamodule is not None:
            replaced = ("data.", "augmentation.", "training.resolution", "optimization.class_weights")
            for name in settings():
                if name.startswith(replaced) and name not in USED_WITH_CUSTOM_DATA:
                    yield name, "datamodule"


def _name(part: Any) -> str:
    """Return the name of a function, a class or an object's class, without its module: a script is `__main__`."""
    name: str = getattr(part, "__name__", type(part).__name__)
    return name
