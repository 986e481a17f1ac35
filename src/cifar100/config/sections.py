"""Every setting of an experiment: its name, its default, its range and its meaning, each exactly once.

The docstring under an attribute is its help text on the command line. The settings of a network, an augmentation or a
loss are declared in its own file (`cifar100.config.declarations`). `cifar100.settings` merges recipe, files and command
line into a `Config`, which checks itself: a mistake in `dataclasses.replace(config, ...)` is refused as well.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from cifar100.config.checks import check_combinations, check_effects, check_ranges
from cifar100.config.conversion import convert
from cifar100.config.declarations import Setting, attribute_docstrings, components, with_settings_of
from cifar100.config.types import Fraction, LearningRate, Needs, NeedsAny, Range
from cifar100.errors import UserError

MINUTES_OF_A_YEAR = 525_600

DEFAULT_EPOCHS = 30.0
"""Length of a run for which neither epochs nor minutes are given."""


class Section:
    """A section of a `Config`. Checks its settings when it is made."""

    def __post_init__(self) -> None:
        """Convert the values to the types of the settings, such as a list to a tuple, and check their ranges.

        Raises:
            UserError: names the setting, the value that was found and what is expected.
        """
        name = type(self).__name__.removesuffix("Config").lower()
        for setting in section_settings(name):
            value = convert(f"{name}.{setting.name}", getattr(self, setting.name), setting.annotation)
            object.__setattr__(self, setting.name, value)
        check_ranges(self, name, section_settings(name))

    if TYPE_CHECKING:  # the settings that components declare

        def __getattr__(self, setting: str) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Source of the images and the input pipeline."""

    root: Path = Path("dataset")
    """Folder of the prepared data, or of a custom `train.csv` and its images."""

    source: str = "download"
    """Source of the data if `root` holds none: `download` (the official archive), `generated` (Shapes-100, drawn by
    this program) or the path of an official folder or archive."""

    pipeline: Literal["images", "packed"] = "packed"
    """`packed`: uint8 arrays held and augmented on the device, whole batches at a time. `images`: PNG files augmented
    one by one with Albumentations in worker processes."""

    batch_size: Annotated[int, Range(1, 100_000)] = 128
    """Images per optimizer step on each device. N devices process N times as many per step; the learning rate is not
    scaled."""

    validation_fraction: Annotated[float, Range(0, 0.9)] = 0.1
    """Fraction of the training images held out to select the best epoch; 0 trains on all of them."""

    num_folds: Annotated[int | None, Range(2, 100)] = None
    """Divide the training images into this many stratified folds, one of which is held out for validation, in place of
    `validation_fraction` or a `val.csv`; null is no folds."""

    fold: Annotated[int, Range(0, 99), Needs("data.num_folds")] = 0
    """Fold that is held out, from 0."""

    split_seed: Annotated[int, Range(0, 2**32 - 1), NeedsAny("data.validation_fraction", "data.num_folds")] = 0
    """Seed of the stratified train/validation split, and of the folds."""

    group_duplicates: Annotated[bool, NeedsAny("data.validation_fraction", "data.num_folds")] = False
    """Keep duplicates and near-duplicates on one side of the train/validation split, so that they do not flatter the
    validation accuracy. They are found by a perceptual hash, as `cifar100 audit` does."""

    exclude: Path | None = None
    """An `audit.csv` of `cifar100 audit`, edited: training images whose `verdict` is `reject` are left out of training
    and validation. The run keeps its list. null leaves out none."""

    num_workers: Annotated[int | Literal["auto"], Range(0, 256), Needs("data.pipeline", "images")] = "auto"
    """Worker processes of the `images` pipeline; `auto` is one per processor, at most 8. The results do not
    depend on it."""

    mean: Annotated[tuple[float, float, float] | None, Range(0, 1)] = None
    """Channel means (R, G, B; pixels in 0..1) to normalise with; null uses those measured at preparation."""

    std: Annotated[tuple[float, float, float] | None, Range(0.001, 1, why="images are divided by it")] = None
    """Channel standard deviations to normalise with; null uses those measured at preparation, 1 for a constant
    channel."""


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


@dataclass(frozen=True, kw_only=True)
@with_settings_of("training/loss.py", "loss", chosen_by="loss")
class OptimizationConfig(Section):
    """Loss, optimizer and learning-rate schedule."""

    loss: str = "cross_entropy"
    """Loss function. `null` for one of its settings selects the default of the loss."""

    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    """`sgd`: stochastic gradient descent with momentum. `adamw`: AdamW. `muon`: Muon for the convolutions, which must
    be followed by batch normalisation; `sgd` with Nesterov momentum for all other parameters."""

    learning_rate: LearningRate | Literal["auto"] = 0.1
    """Maximum learning rate of the schedule; `auto` runs the learning-rate finder first and uses its suggestion."""

    momentum: Annotated[float, Range(0, 0.9999)] = 0.9
    """Momentum of `sgd`, first beta of `adamw`."""

    muon_learning_rate: Annotated[LearningRate, Needs("optimization.optimizer", "muon")] = 0.18
    """Maximum learning rate of the convolutions with `muon`; all other parameters use `learning_rate`."""

    muon_momentum: Annotated[float, Range(0, 0.9999), Needs("optimization.optimizer", "muon")] = 0.6
    """Momentum of the convolutions with `muon`."""

    nesterov: Annotated[bool, Needs("optimization.optimizer", "sgd", "muon")] = True
    """Nesterov momentum (`sgd`)."""

    weight_decay: Annotated[float, Range(0, 1000)] = 5e-4
    """Weight decay (L2 penalty with `sgd`, decoupled with `adamw`)."""

    weight_decay_on: Annotated[Literal["all", "weights"], Needs("optimization.weight_decay")] = "all"
    """`all`: decay all parameters. `weights`: only those of convolutions and linear layers, not batch normalisation
    and biases."""

    decoupled_weight_decay: Annotated[
        bool, Needs("optimization.optimizer", "sgd"), Needs("optimization.weight_decay")
    ] = False
    """With `sgd`: shrink the weights by learning rate times weight decay in each step, as AdamW does, instead of adding
    the decay to the gradient (Loshchilov and Hutter, 2019). With momentum 0.9, the same decay then needs about ten
    times the `weight_decay`."""

    ema_decay: Annotated[float | None, Range(0, 0.999999)] = None
    """Decay per step of an exponential moving average of the weights, which is validated and kept as the result,
    such as 0.999; null is off."""

    ema_final_decay: Annotated[float | None, Range(0, 0.999999), Needs("optimization.ema_decay")] = None
    """Decay at the end of the run, to which it rises from `ema_decay`, such as 0.9998; null keeps it constant."""

    ema_start: Annotated[float, Range(0, 0.99), Needs("optimization.ema_decay")] = 0.0
    """Fraction of the run after which the average begins."""

    sam: Literal["none", "sam", "friendly"] = "none"
    """Sharpness-aware minimization: SAM (Foret et al., 2021) or Friendly SAM (Li et al., 2024). Usually more accurate,
    at twice the time per step."""

    sam_rho: Annotated[float, Range(0, 1000, above=True), Needs("optimization.sam")] = 0.2
    """Radius of the perturbation of the weights, in the norm over all of them."""

    sam_batch_size: Annotated[int, Range(2, 100_000), Needs("optimization.sam")] = 128
    """Images that share a perturbation; a larger batch is split into parts of this size."""

    fsam_lambda: Annotated[float, Range(0, 0.9999), Needs("optimization.sam", "friendly")] = 0.6
    """Friendly SAM: decay of the moving average of the gradients at each part of a batch (lambda)."""

    teacher: str | None = None
    """Run whose network is the teacher (knowledge distillation, Hinton et al., 2015): a run folder or a name below
    `logs/`. Its best weights are used. null is none."""

    teacher_weight: Annotated[float, Range(0, 1, above=True), Needs("optimization.teacher")] = 0.5
    """Weight of the distillation loss; the loss on the labels has the rest, to 1."""

    teacher_temperature: Annotated[float, Range(0.01, 1000), Needs("optimization.teacher")] = 4.0
    """Temperature by which the logits of both networks are divided."""

    schedule: Literal["one_cycle", "cosine", "linear", "constant"] = "cosine"
    """Learning-rate schedule, updated every step. `one_cycle`: cosine rise and cosine fall (Smith and Topin, 2017).
    `cosine`, `linear`: linear rise, then cosine or linear fall. `constant`: no change."""

    pct_start: Annotated[Fraction, Needs("optimization.schedule", "one_cycle", "cosine", "linear")] = 0.05
    """Fraction of all steps in which the learning rate rises."""

    div_factor: Annotated[float, Range(1, 1e12), Needs("optimization.schedule", "one_cycle", "cosine", "linear")] = 25.0
    """The first learning rate is the maximum divided by this."""

    final_div_factor: Annotated[
        float, Range(1, 1e12), Needs("optimization.schedule", "one_cycle", "cosine", "linear")
    ] = 1e4
    """The last learning rate is the first divided by this."""

    cycle_momentum: Annotated[
        bool, Needs("optimization.schedule", "one_cycle"), Needs("optimization.optimizer", "sgd", "adamw")
    ] = False
    """With `one_cycle`: lower the momentum from 0.95 to 0.85 while the learning rate rises, then back."""


@dataclass(frozen=True, kw_only=True)
@with_settings_of("training/reporting/loggers.py", "logger", chosen_by="loggers", several=True)
class TrainingConfig(Section):
    """Length, devices, precision, saving and logging."""

    max_epochs: Annotated[float | None, Range(0, 100_000, above=True)] = None
    """Passes over the training images; may be fractional. null is no limit if `max_minutes` is given, else 30."""

    max_minutes: Annotated[float | None, Range(0, MINUTES_OF_A_YEAR, above=True, why="a year")] = None
    """End the run this many minutes after the command started; the final validation is not included. With `max_epochs`
    as well, the run ends with the first of the two. The learning-rate schedule spans the run. null is no limit."""

    save_every_minutes: Annotated[float, Range(0, MINUTES_OF_A_YEAR, why="a year")] = 2.0
    """Minutes between two saves of the run's state, also mid-epoch. The end of the run and a signal always save. 0
    saves after every step."""

    loggers: tuple[str, ...] = ("tensorboard",)
    """Loggers that receive the metrics, such as [tensorboard, csv]; [] is none. `metrics.json`, `metrics.csv` and
    `training.log` are always written."""

    max_nonfinite_losses: Annotated[int, Range(1, 1_000_000)] = 3
    """Number of consecutive losses that are not finite after which the run stops as diverged."""

    validate_every: Annotated[int, Range(1, 100_000)] = 1
    """Epochs between two validations; the last epoch is always validated."""

    resolutions: Annotated[tuple[int, ...] | None, Range(16, 64), Needs("data.pipeline", "packed")] = None
    """Progressive resizing: sides in pixels to which the training images are scaled in turn, such as [20, 24, 32]; null
    keeps their size (`packed` pipeline only)."""

    resolution_changes: Annotated[tuple[float, ...] | None, Range(0, 1, above=True), Needs("training.resolutions")] = (
        None
    )
    """Fractions of the run at which the second and later `resolutions` begin, such as [0.15, 0.5]."""

    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of the initial weights, the order of the images and the augmentation."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device; `auto` selects CUDA, else Apple's MPS, else the CPU."""

    devices: Annotated[int | Literal["auto"], Range(1, 1024)] = 1
    """Devices per machine, one process each; with `cpu`, the number of processes. `auto` is 1, but on a CPU with
    bfloat16 instructions one process for each processor: they share the images of `data.batch_size` and compute in
    bf16-mixed."""

    num_nodes: Annotated[int, Range(1, 1024)] = 1
    """Number of machines; on several, torchrun or SLURM's srun starts the processes."""

    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    """Floating-point precision; `auto` is bf16-mixed on CUDA devices that support it, and where `devices auto` starts
    several processes on a CPU; 32-true elsewhere."""

    channels_last: bool = False
    """Store images and convolution weights in the (N, H, W, C) memory layout: faster on CUDA and on most CPUs."""

    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """Mode of torch.compile for the network and for `muon`. Pays off in long runs on CUDA; compiling takes
    a minute or more."""

    deterministic: bool = False
    """Use only algorithms that are bit-for-bit reproducible on the same machine; slower on CUDA."""

    limit_train_batches: Annotated[int | None, Range(1, 1_000_000_000)] = None
    """Use only this many batches of each training epoch, for a quick trial; null is all."""

    limit_val_batches: Annotated[int | None, Range(1, 1_000_000_000)] = None
    """Use only this many validation batches, for a quick trial; null is all."""

    def __post_init__(self) -> None:
        """Check the values. Without any length, set that of the default."""
        super().__post_init__()
        if self.max_epochs is None and self.max_minutes is None:
            object.__setattr__(self, "max_epochs", DEFAULT_EPOCHS)

    @property
    def num_processes(self) -> int:
        """Total number of processes on all machines."""
        return self.processes_here * self.num_nodes

    @property
    def processes_here(self) -> int:
        """Number of processes on each machine. `devices.resolve` decides on `auto` before a run begins."""
        return 1 if self.devices == "auto" else self.devices


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


@cache
def section_settings(name: str) -> tuple[Setting, ...]:
    """Return the settings of a section, those that components declare included."""
    section = globals()[f"{name.capitalize()}Config"]  # SECTIONS is not there yet when the defaults are made
    source = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(source, ast.ClassDef)
    docstrings = attribute_docstrings(source) | getattr(section, "declared_help", {})
    types = get_type_hints(section, include_extras=True)
    return tuple(
        Setting(item.name, types[item.name], item.default, docstrings.get(item.name, "")) for item in fields(section)
    )


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
        taken = set().union(*(names[name] for name in _as_tuple(values[selector])))
        others = set().union(*names.values()) - taken
        chosen[selector] = (", ".join(_as_tuple(values[selector])), frozenset(taken), frozenset(others))
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
        in_use = [known[name] for name in _as_tuple(values[selector])]
        chosen = {setting.name: setting.default for component in in_use for setting in component.settings}
        found |= {f"{section}.{name}": value for name, value in chosen.items() if values[f"{section}.{name}"] is None}
        others = {(setting.name, setting.default) for component in known.values() for setting in component.settings}
        found |= {
            f"{section}.{name}": None
            for name, default in others
            if name not in chosen and values[f"{section}.{name}"] == default
        }
    return found


def component_default(setting: str, values: Mapping[str, Any]) -> Any:
    """Return the default that a component declares for a setting; that of the chosen one if it takes the setting.

    values: settings by their full names; those that are missing have their defaults.
    """
    section, _, key = setting.partition(".")
    for selector, (path, marker) in COMPONENTS.items():
        if selector.startswith(f"{section}."):
            known = components(path, marker)
            chosen = _as_tuple(values.get(selector, settings()[selector].default))
            for name in [*chosen, *known]:
                for declared in known[name].settings:
                    if declared.name == key:
                        return declared.default
    return None


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
