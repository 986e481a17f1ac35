"""Every setting of an experiment: its name, its default, its range and its meaning, each exactly once.

The docstring under an attribute is its help text on the command line. The settings of a network, an augmentation or a
loss are declared in its own file (`cifar100.config.declarations`). A `Config` checks itself when it is made: a mistake in
`dataclasses.replace(config, ...)` is refused as one on the command line is. `cifar100.settings` merges recipe, files
and command line into a `Config`.
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
from cifar100.config.types import Fraction, Needs, NonNegative, Positive, Range


class Section:
    """A section of a `Config`; checks its settings when it is made."""

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
    """Where the images come from and how they are fed to the network."""

    root: Path = Path("dataset")
    """Folder that holds the prepared data, or your own `train.csv` and images."""

    source: str = "download"
    """Where the data come from while `root` holds none: `download` (the official archive), `generated` (Shapes-100,
    drawn by this program) or the path of an official folder or archive."""

    pipeline: Literal["images", "packed"] = "packed"
    """`packed`: uint8 arrays held and augmented on the device, whole batches at a time. `images`: PNG files augmented
    one by one with Albumentations in worker processes."""

    batch_size: Annotated[int, Range(1)] = 128
    """Images per optimizer step on each device: N devices take N times as many together. The learning rate is not
    changed for that."""

    validation_fraction: Annotated[float, Range(0, 0.9)] = 0.1
    """Share of the training images held out to choose the best epoch; 0 trains on all of them."""

    split_seed: Annotated[int, Range(0, 2**32 - 1), Needs("data.validation_fraction")] = 0
    """Seed of the stratified train/validation split."""

    num_workers: Annotated[int | Literal["auto"], Range(0, 256), Needs("data.pipeline", "images")] = "auto"
    """Worker processes of the `images` pipeline; `auto` is one for each processor, 8 at most. The results do not depend
    on it."""

    mean: Annotated[tuple[float, float, float] | None, Range(0, 1, above=True)] = None
    """Channel means (R, G, B; pixels in 0..1) to normalise with; null uses those measured at preparation."""

    std: Annotated[tuple[float, float, float] | None, Range(0, 1, above=True)] = None
    """Channel standard deviations to normalise with; null uses those measured at preparation."""


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig(Section):
    """Random changes to the training images. Validation and test images are never changed."""

    flip: Literal["none", "random", "alternating"] = "random"
    """Horizontal flip. `random`: each image with probability 0.5. `alternating`: a random half of the images in the
    first epoch, the other half in the next, and so on (`packed` pipeline only)."""

    crop_padding: int = 4
    """Random crop: pad by this many pixels by reflection, then cut out the original size at random; 0 is off."""

    shift: float = 0.0
    """Affine: largest shift in each direction, as a share of the image side."""

    scale: float = 0.0
    """Affine: largest relative change of size."""

    rotate: float = 0.0
    """Affine: largest rotation in degrees."""

    affine_probability: float = 0.5
    """Probability that shift, scale and rotation are applied to an image."""

    policy: Literal["none", "auto_augment", "rand_augment", "trivial_augment"] = "none"
    """Learned or random combinations of 14 operations such as shear, posterize and equalize (`packed` pipeline only):
    AutoAugment's for CIFAR, RandAugment or TrivialAugment (Wide)."""

    rand_augment_operations: int = 2
    """RandAugment: operations on each image, one after the other."""

    rand_augment_magnitude: int = 14
    """RandAugment: strength of all operations, 0 to 30."""

    cutout: int = 0
    """Side in pixels of a square hole filled with black, at a random place; 0 is off."""

    cutout_probability: float = 0.5
    """Probability that an image gets the hole."""

    cutout_mixed: bool = True
    """Whether batches that `mixup` or `cutmix` blends get holes, too."""

    random_erasing_probability: float = 0.0
    """Probability that a rectangle of 2 % to a third of an image is filled with noise (`packed` pipeline only)."""

    mixup_probability: float = 0.0
    """Probability that the images of a batch, and their labels, are blended in pairs (`packed` pipeline only)."""

    mixup_alpha: float = 0.2
    """Mixup: shares of the two images are drawn from Beta(alpha, alpha)."""

    cutmix_probability: float = 0.0
    """Probability that a box of each image of a batch comes from another one (`packed` pipeline only). `mixup` and
    `cutmix` exclude each other in a batch, so their sum is at most 1."""

    cutmix_alpha: float = 1.0
    """CutMix: the share that the image keeps is drawn from Beta(alpha, alpha)."""


@dataclass(frozen=True, kw_only=True)
@with_settings_of("models", "network", chosen_by="name")
class ModelConfig(Section):
    """The network. Its own settings are declared in its file in `models/`."""

    name: str = "resnet18"
    """Network; `null` for one of its settings means the network's own default."""

    if TYPE_CHECKING:

        def __init__(self, *, name: str = "resnet18", **settings: Any) -> None: ...


@dataclass(frozen=True, kw_only=True)
@with_settings_of("training/loss.py", "loss", chosen_by="loss")
class OptimizationConfig(Section):
    """Loss, optimizer and learning-rate schedule."""

    loss: str = "cross_entropy"
    """Loss function; `null` for one of its settings means the loss's own default."""

    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    """`sgd`: stochastic gradient descent with momentum. `adamw`: AdamW. `muon`: Muon for the convolutions (which must
    be followed by batch normalisation), `sgd` with Nesterov momentum for all else."""

    learning_rate: Annotated[float | Literal["auto"], Range(0, above=True)] = 0.1
    """Highest learning rate of the schedule; `auto` runs the learning-rate finder first and uses its suggestion."""

    momentum: Annotated[float, Range(0, 0.9999)] = 0.9
    """Momentum of `sgd`, first beta of `adamw`."""

    muon_learning_rate: Annotated[Positive, Needs("optimization.optimizer", "muon")] = 0.18
    """Highest learning rate of the convolutions with `muon`; `learning_rate` is that of all else."""

    muon_momentum: Annotated[float, Range(0, 0.9999), Needs("optimization.optimizer", "muon")] = 0.6
    """Momentum of the convolutions with `muon`."""

    nesterov: Annotated[bool, Needs("optimization.optimizer", "sgd", "muon")] = True
    """Nesterov momentum (`sgd`)."""

    weight_decay: NonNegative = 5e-4
    """Weight decay (L2 penalty with `sgd`, decoupled with `adamw`)."""

    weight_decay_on: Annotated[Literal["all", "weights"], Needs("optimization.weight_decay")] = "all"
    """`all`: decay all parameters. `weights`: only those of convolutions and linear layers, not batch normalisation
    and biases."""

    decoupled_weight_decay: Annotated[
        bool, Needs("optimization.optimizer", "sgd"), Needs("optimization.weight_decay")
    ] = False
    """With `sgd`: shrink the weights by learning rate times weight decay in each step, as AdamW does, instead of adding
    the decay to the gradient (Loshchilov and Hutter, 2019). With momentum 0.9 about ten times `weight_decay` is then
    the same decay."""

    ema_decay: Annotated[float | None, Range(0, 0.999999)] = None
    """Validate, and keep as the result, an exponential moving average of the weights with this decay for each step,
    such as 0.999; null is off."""

    ema_final_decay: Annotated[float | None, Range(0, 0.999999), Needs("optimization.ema_decay")] = None
    """Let the decay rise from `ema_decay` to this in the course of the run, such as 0.9998; null keeps it constant."""

    ema_start: Annotated[float, Range(0, 0.99), Needs("optimization.ema_decay")] = 0.0
    """Where in the run, 0 to 1, the average begins."""

    sam: Literal["none", "sam", "friendly"] = "none"
    """Sharpness-aware minimization: SAM (Foret et al., 2021) or Friendly SAM (Li et al., 2024). Usually more accurate,
    at twice the time of a step."""

    sam_rho: Annotated[Positive, Needs("optimization.sam")] = 0.2
    """Distance at which SAM looks at the loss, in the space of all weights."""

    sam_batch_size: Annotated[int, Range(2), Needs("optimization.sam")] = 128
    """Images whose mean gradient tells SAM where to look; a larger batch is taken apart into parts of this size."""

    fsam_lambda: Annotated[float, Range(0, 0.9999), Needs("optimization.sam", "friendly")] = 0.6
    """Friendly SAM: share that the moving average of the gradients keeps at each part of a batch (lambda)."""

    teacher: str | None = None
    """Run whose network this one also imitates (knowledge distillation, Hinton et al., 2015): a run folder or a name
    below `logs/`; its best weights are used. null is none."""

    teacher_weight: Annotated[float, Range(0, 1, above=True), Needs("optimization.teacher")] = 0.5
    """Share of the loss that compares with the teacher's probabilities instead of the labels."""

    teacher_temperature: Annotated[Positive, Needs("optimization.teacher")] = 4.0
    """Logits of both networks are divided by this before they are compared."""

    schedule: Literal["one_cycle", "cosine", "linear", "constant"] = "cosine"
    """How the learning rate changes, step by step. `one_cycle`: cosine rise and cosine fall (Smith and Topin, 2017).
    `cosine`, `linear`: linear rise, then cosine or linear fall. `constant`: no change."""

    pct_start: Annotated[Fraction, Needs("optimization.schedule", "one_cycle", "cosine", "linear")] = 0.05
    """Share of all steps in which the learning rate rises."""

    div_factor: Annotated[float, Range(1), Needs("optimization.schedule", "one_cycle", "cosine", "linear")] = 25.0
    """The first learning rate is the highest divided by this."""

    final_div_factor: Annotated[float, Range(1), Needs("optimization.schedule", "one_cycle", "cosine", "linear")] = 1e4
    """The last learning rate is the first divided by this."""

    cycle_momentum: Annotated[
        bool, Needs("optimization.schedule", "one_cycle"), Needs("optimization.optimizer", "sgd", "adamw")
    ] = False
    """With `one_cycle`: lower the momentum from 0.95 to 0.85 while the learning rate rises, then back."""


@dataclass(frozen=True, kw_only=True)
@with_settings_of("training/reporting/loggers.py", "logger", chosen_by="loggers", several=True)
class TrainingConfig(Section):
    """How long, on which devices, in which precision, and what is saved and logged."""

    max_epochs: Positive = 30
    """Passes over the training images; need not be a whole number."""

    max_minutes: Annotated[float | None, Range(0, above=True)] = None
    """End after this many minutes since the start of the command instead of after `max_epochs`. The learning-rate
    schedule is stretched over that time; a last validation comes on top. null is no limit."""

    save_every_minutes: NonNegative = 2.0
    """Minutes from one save of the run's state to the next, in the midst of an epoch, too; the end and a signal always
    save. 0 saves after every step."""

    loggers: tuple[str, ...] = ("tensorboard",)
    """Loggers that receive the metrics, such as [tensorboard, csv]; [] is none. `metrics.json` and `training.log` are
    always written."""

    max_nonfinite_losses: Annotated[int, Range(1)] = 3
    """Stop as diverged at this many losses in a row that are infinite or not a number."""

    validate_every: Annotated[int, Range(1)] = 1
    """Epochs from one validation to the next; the last epoch is always validated."""

    resolutions: Annotated[tuple[int, ...] | None, Range(16, 64), Needs("data.pipeline", "packed")] = None
    """Progressive resizing: sides in pixels to which the training images are scaled, one after the other, such as
    [20, 24, 32]; null is their own size throughout (`packed` pipeline only)."""

    resolution_changes: Annotated[tuple[float, ...] | None, Range(0, 1, above=True), Needs("training.resolutions")] = (
        None
    )
    """Where in the run, 0 to 1, each of `resolutions` but the first begins, such as [0.15, 0.5]."""

    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of the initial weights, the order of the images and the augmentation."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device; `auto` takes CUDA, else Apple's MPS, else the CPU."""

    devices: Annotated[int, Range(1, 1024)] = 1
    """Number of devices of each machine, one process each; with `cpu`, the number of processes."""

    num_nodes: Annotated[int, Range(1, 1024)] = 1
    """Number of machines; on several, torchrun or SLURM's srun starts the processes."""

    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    """Arithmetic; `auto` is bf16-mixed on CUDA devices that have it and 32-true elsewhere."""

    channels_last: bool = False
    """Keep images and convolution weights in the (N, H, W, C) memory layout: quicker on CUDA and on most CPUs."""

    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """Mode of torch.compile for the network and for `muon`. Pays on CUDA in long runs; costs a minute and more of
    compiling at first."""

    deterministic: bool = False
    """Use only algorithms that give the same bits on every run on the same machine; slower on CUDA."""

    limit_train_batches: Annotated[int | None, Range(1)] = None
    """Use only this many batches of each training epoch, for a trial; null is all."""

    limit_val_batches: Annotated[int | None, Range(1)] = None
    """Use only this many validation batches, for a trial; null is all."""

    @property
    def num_processes(self) -> int:
        """Processes on all machines together."""
        return self.devices * self.num_nodes


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one experiment.

    Raises:
        UserError: settings contradict each other, or one has no effect; names both.
    """

    recipe: str | None = None
    """Recipe that the settings started from; `cifar100 recipes` lists them. null: none."""

    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Fill in the defaults of the chosen components, then check what a section cannot check by itself."""
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


COMPONENTS = {"model.name": ("models", "network"), "optimization.loss": ("training/loss.py", "loss")}
"""The settings that name a component, and where such components are declared."""


def chosen_components(values: Mapping[str, Any]) -> dict[str, tuple[str, frozenset[str], frozenset[str]]]:
    """Return what each of `COMPONENTS` names: its name, the settings it takes, and those that only others take.

    values: every setting by its full name.
    """
    chosen = {}
    for selector, (path, marker) in COMPONENTS.items():
        section = selector.partition(".")[0]
        known = components(path, marker)
        names = {name: {f"{section}.{setting.name}" for setting in known[name].settings} for name in known}
        taken = frozenset(names[values[selector]])
        chosen[selector] = (values[selector], taken, frozenset(set().union(*names.values()) - taken))
    return chosen


def component_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the settings of components become if nothing else is said.

    A setting of the chosen component that is `null` becomes the component's default. A setting that only other
    components take becomes `null` if it has a default of theirs, so that
    `replace(config.model, name="fast_net")` need not name it.
    """
    found = {}
    for selector, (path, marker) in COMPONENTS.items():
        section = selector.partition(".")[0]
        known = components(path, marker)
        chosen = {setting.name: setting.default for setting in known[values[selector]].settings}
        found |= {f"{section}.{name}": value for name, value in chosen.items() if values[f"{section}.{name}"] is None}
        others = {(setting.name, setting.default) for component in known.values() for setting in component.settings}
        found |= {
            f"{section}.{name}": None
            for name, default in others
            if name not in chosen and values[f"{section}.{name}"] == default
        }
    return found
