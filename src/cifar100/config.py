"""Every setting of an experiment: its name, its default and its meaning, each exactly once.

The docstring under an attribute is its help text on the command line. `cifar100.settings` merges recipe, files and
command line into a `Config`; `cifar100.config_check` refuses contradictions and values out of range.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the images come from and how they are fed to the network."""

    root: Path = Path("dataset")
    """Folder that holds the prepared data, or your own `train.csv` and images."""

    source: str = "download"
    """Where the data come from while `root` holds none: `download` (the official archive), `generated` (Shapes-100,
    drawn by this program) or the path of an official folder or archive."""

    pipeline: Literal["images", "packed"] = "packed"
    """`packed`: uint8 arrays held and augmented on the device, whole batches at a time. `images`: PNG files augmented
    one by one with Albumentations in worker processes."""

    batch_size: int = 128
    """Images per optimizer step on each device: N devices take N times as many together. The learning rate is not
    changed for that."""

    validation_fraction: float = 0.1
    """Share of the training images held out to choose the best epoch; 0 trains on all of them."""

    split_seed: int = 0
    """Seed of the stratified train/validation split."""

    num_workers: int | Literal["auto"] = "auto"
    """Worker processes of the `images` pipeline; `auto` is one for each processor, 8 at most. The results do not depend
    on it."""

    mean: tuple[float, float, float] | None = None
    """Channel means (R, G, B; pixels in 0..1) to normalise with; null uses those measured at preparation."""

    std: tuple[float, float, float] | None = None
    """Channel standard deviations to normalise with; null uses those measured at preparation."""


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
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
    """Whether batches that mixup or CutMix blends get the hole as well."""

    random_erasing_probability: float = 0.0
    """Probability that a rectangle of 2 % to a third of an image is filled with noise (`packed` pipeline only)."""

    random_erasing_mixed: bool = True
    """Whether batches that mixup or CutMix blends are erased as well."""

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
class ModelConfig:
    """The network."""

    name: Literal["resnet18", "resnet34", "resnet50", "wide_resnet28_10", "fast_net"] = "resnet18"
    """Architecture."""

    stem: Literal["imagenet", "cifar"] | None = None
    """First layers of a ResNet. `imagenet`: 7x7 convolution with stride 2 and max-pooling. `cifar`: 3x3 convolution, no
    pooling; more accurate on 32x32 images and about 15 times the arithmetic. null is `cifar` for a ResNet; the other
    networks have one stem only."""

    shortcut: Literal["projection", "average_pool"] | None = None
    """Shortcuts of a ResNet where the resolution halves. `projection`: a 1x1 convolution of every other pixel.
    `average_pool`: of 2x2 averages (ResNet-D). null is `projection`."""

    stochastic_depth: float = 0.0
    """Probability that the last residual block is left out for a training image; that of the others rises linearly up
    to it. For ResNets and `wide_resnet28_10`."""

    widths: tuple[int, int, int] | None = None
    """Channels of the three stages of `fast_net`; null is 64, 256, 256."""


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """Loss, optimizer and learning-rate schedule."""

    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    """`sgd`: stochastic gradient descent with momentum. `adamw`: AdamW. `muon`: Muon for the convolutions (which must
    be followed by batch normalisation), `sgd` with Nesterov momentum for all else."""

    learning_rate: float | Literal["auto"] = 0.1
    """Highest learning rate of the schedule; `auto` runs the learning-rate finder first and uses its suggestion."""

    momentum: float = 0.9
    """Momentum of `sgd`, first beta of `adamw`."""

    muon_learning_rate: float = 0.18
    """Highest learning rate of the convolutions with `muon`; `learning_rate` is that of all else."""

    muon_momentum: float = 0.6
    """Momentum of the convolutions with `muon`."""

    nesterov: bool = True
    """Nesterov momentum (`sgd`)."""

    weight_decay: float = 5e-4
    """Weight decay (L2 penalty with `sgd`, decoupled with `adamw`)."""

    weight_decay_on: Literal["all", "weights"] = "all"
    """`all`: decay all parameters. `weights`: only those of convolutions and linear layers, not batch normalisation
    and biases."""

    decoupled_weight_decay: bool = False
    """With `sgd`: shrink the weights by learning rate times weight decay in each step, as AdamW does, instead of adding
    the decay to the gradient (Loshchilov and Hutter, 2019). With momentum 0.9 about ten times `weight_decay` is then
    the same decay."""

    label_smoothing: float = 0.0
    """Share of the target probability that is spread evenly over all classes."""

    ema_decay: float | None = None
    """Validate, and keep as the result, an exponential moving average of the weights with this decay for each step,
    such as 0.999; null is off."""

    ema_final_decay: float | None = None
    """Let the decay rise from `ema_decay` to this in the course of the run, such as 0.9998; null keeps it constant."""

    ema_start: float = 0.0
    """Where in the run, 0 to 1, the average begins."""

    sam: Literal["none", "sam", "friendly"] = "none"
    """Sharpness-aware minimization: SAM (Foret et al., 2021) or Friendly SAM (Li et al., 2024). Usually more accurate,
    at twice the time of a step."""

    sam_rho: float = 0.2
    """Distance at which SAM looks at the loss, in the space of all weights."""

    sam_batch_size: int = 128
    """Images whose mean gradient tells SAM where to look; a larger batch is taken apart into parts of this size."""

    fsam_lambda: float = 0.6
    """Friendly SAM: share that the moving average of the gradients keeps at each part of a batch (lambda)."""

    teacher: str | None = None
    """Run whose network this one also imitates (knowledge distillation, Hinton et al., 2015): a run folder or a name
    below `logs/`; its best weights are used. null is none."""

    teacher_weight: float = 0.5
    """Share of the loss that compares with the teacher's probabilities instead of the labels."""

    teacher_temperature: float = 4.0
    """Logits of both networks are divided by this before they are compared."""

    schedule: Literal["one_cycle", "cosine", "linear", "constant"] = "cosine"
    """How the learning rate changes, step by step. `one_cycle`: cosine rise and cosine fall (Smith and Topin, 2017).
    `cosine`, `linear`: linear rise, then cosine or linear fall. `constant`: no change."""

    pct_start: float = 0.05
    """Share of all steps in which the learning rate rises."""

    div_factor: float = 25.0
    """The first learning rate is the highest divided by this."""

    final_div_factor: float = 1e4
    """The last learning rate is the first divided by this."""

    cycle_momentum: bool = False
    """With `one_cycle`: lower the momentum from 0.95 to 0.85 while the learning rate rises, then back."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, on what, and with which arithmetic."""

    max_epochs: float = 30
    """Passes over the training images; need not be a whole number."""

    max_minutes: float | None = None
    """End after this many minutes since the start of the command instead of after `max_epochs`. The learning-rate
    schedule is stretched over that time; a last validation comes on top. null is no limit."""

    save_every_minutes: float = 2.0
    """Minutes from one save of the run's state to the next, in the midst of an epoch, too; the end and a signal always
    save. 0 saves after every step."""

    max_nonfinite_losses: int = 3
    """Stop as diverged at this many losses in a row that are infinite or not a number."""

    validate_every: int = 1
    """Epochs from one validation to the next; the last epoch is always validated."""

    resolutions: tuple[int, ...] | None = None
    """Progressive resizing: sides in pixels to which the training images are scaled, one after the other, such as
    [20, 24, 32]; null is their own size throughout (`packed` pipeline only)."""

    resolution_changes: tuple[float, ...] | None = None
    """Where in the run, 0 to 1, each of `resolutions` but the first begins, such as [0.15, 0.5]."""

    seed: int = 0
    """Seed of the initial weights, the order of the images and the augmentation."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device; `auto` takes CUDA, else Apple's MPS, else the CPU."""

    devices: int = 1
    """Number of devices of each machine, one process each; with `cpu`, the number of processes."""

    num_nodes: int = 1
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

    limit_train_batches: int | None = None
    """Use only this many batches of each training epoch, for a trial; null is all."""

    limit_val_batches: int | None = None
    """Use only this many validation batches, for a trial; null is all."""

    @property
    def num_processes(self) -> int:
        """Processes on all machines together."""
        return self.devices * self.num_nodes


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one experiment."""

    recipe: str = "original"
    """Recipe whose settings replace the defaults; `cifar100 recipes` lists them."""

    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


SECTIONS = ("data", "augmentation", "model", "optimization", "training")
"""The sections of a `Config`, in the order in which they are shown."""


def get(config: Config, setting: str) -> Any:
    """Return the value of a setting named like `data.batch_size`."""
    section, _, key = setting.partition(".")
    return getattr(getattr(config, section), key) if key else getattr(config, section)
