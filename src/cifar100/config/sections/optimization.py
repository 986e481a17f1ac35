"""Settings of the loss, the optimizer and the learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cifar100.config.declarations import with_settings_of
from cifar100.config.sections.section import Section
from cifar100.config.types import Fraction, LearningRate, Needs, Range


@dataclass(frozen=True, kw_only=True)
@with_settings_of("training/loss.py", "loss", chosen_by="loss")
class OptimizationConfig(Section):
    """Loss, optimizer and learning-rate schedule."""

    loss: str = "cross_entropy"
    """Loss function. `null` for one of its settings selects the default of that loss."""

    class_weights: Literal["none", "balanced"] = "none"
    """Weight of each class in the loss on the labels. `balanced`: N / (K n_c) for a class with n_c of the N training
    images of K classes, so every class has the same total weight."""

    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    """`sgd`: stochastic gradient descent with momentum. `adamw`: AdamW. `muon`: Muon for the convolutions, which must
    be followed by batch normalisation; `sgd` with Nesterov momentum for all other parameters."""

    learning_rate: LearningRate | Literal["auto"] = 0.1
    """Maximum learning rate of the schedule; `auto` runs the learning-rate finder first and uses its suggestion."""

    momentum: Annotated[float, Range(0, 0.9999), Needs("optimization.cycle_momentum", False)] = 0.9
    """Momentum of `sgd`, also for the parameters that `muon` leaves to it; first beta of `adamw`."""

    muon_learning_rate: Annotated[LearningRate, Needs("optimization.optimizer", "muon")] = 0.18
    """Maximum learning rate of the convolutions with `muon`; all other parameters use `learning_rate`."""

    muon_momentum: Annotated[float, Range(0, 0.9999), Needs("optimization.optimizer", "muon")] = 0.6
    """Momentum of the convolutions with `muon`."""

    nesterov: Annotated[bool, Needs("optimization.optimizer", "sgd", "muon")] = True
    """Nesterov momentum of `sgd`; `muon` always has it."""

    layer_decay: Annotated[float, Range(0.01, 1), Needs("optimization.optimizer", "sgd", "adamw")] = 1.0
    """Layer-wise decay of the learning rate, for fine-tuning: the classifier has `learning_rate`, and each block of
    layers has the rate of the block after it times this factor, such as 0.75. 1 is the same rate for all."""

    weight_decay: Annotated[float, Range(0, 1000)] = 5e-4
    """Weight decay: L2 penalty with `sgd`, decoupled with `adamw`. With `muon` it is an L2 penalty of all parameters
    except the convolutions, which have none."""

    weight_decay_on: Annotated[Literal["all", "weights"], Needs("optimization.weight_decay")] = "all"
    """`all`: decay all parameters. `weights`: only those of two or more dimensions, as in convolutions and linear
    layers, not batch normalisation and biases."""

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
    """Fraction of the run after which averaging starts."""

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
    `logs/`. Its best weights are used; it gets images of the size that it was trained with. null is none."""

    teacher_weight: Annotated[float, Range(0, 1, above=True), Needs("optimization.teacher")] = 0.5
    """Weight of the distillation loss; the loss on the labels has one minus this weight."""

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
    """With `one_cycle`: lower the momentum from 0.95 to 0.85 while the learning rate rises, then back. It replaces
    `momentum`."""
