"""What values the settings may have, and which exclude each other: checked once, before anything slow starts."""

from __future__ import annotations

import math

from cifar100.config import Config, ModelConfig, OptimizationConfig, TrainingConfig, get
from cifar100.errors import UserError


def check(config: Config) -> None:
    """Refuse values out of range and settings that contradict each other.

    Raises:
        UserError: names the setting, the value that was found and what is expected.
    """
    _check_ranges(config)
    _check_combinations(config)


# (setting, smallest, largest, whether the smallest value itself is allowed)
_RANGES: tuple[tuple[str, float, float, bool], ...] = (
    ("data.batch_size", 1, math.inf, True),
    ("data.validation_fraction", 0, 0.9, True),
    ("data.split_seed", 0, 2**32 - 1, True),
    ("data.num_workers", 0, 256, True),
    ("augmentation.crop_padding", 0, 31, True),  # reflection cannot pad by more than the image side less one
    ("augmentation.shift", 0, 1, True),
    ("augmentation.scale", 0, 0.9, True),
    ("augmentation.rotate", 0, 180, True),
    ("augmentation.affine_probability", 0, 1, True),
    ("augmentation.rand_augment_operations", 1, 14, True),
    ("augmentation.rand_augment_magnitude", 0, 30, True),
    ("augmentation.cutout", 0, 32, True),
    ("augmentation.cutout_probability", 0, 1, True),
    ("augmentation.random_erasing_probability", 0, 1, True),
    ("augmentation.mixup_probability", 0, 1, True),
    ("augmentation.mixup_alpha", 0, math.inf, False),
    ("augmentation.cutmix_probability", 0, 1, True),
    ("augmentation.cutmix_alpha", 0, math.inf, False),
    ("model.stochastic_depth", 0, 0.9, True),
    ("optimization.learning_rate", 0, math.inf, False),
    ("optimization.momentum", 0, 0.9999, True),
    ("optimization.muon_learning_rate", 0, math.inf, False),
    ("optimization.muon_momentum", 0, 0.9999, True),
    ("optimization.weight_decay", 0, math.inf, True),
    ("optimization.label_smoothing", 0, 0.99, True),
    ("optimization.ema_decay", 0, 0.999999, True),
    ("optimization.ema_final_decay", 0, 0.999999, True),
    ("optimization.ema_start", 0, 0.99, True),
    ("optimization.sam_rho", 0, math.inf, False),
    ("optimization.sam_batch_size", 2, math.inf, True),
    ("optimization.fsam_lambda", 0, 0.9999, True),
    ("optimization.teacher_weight", 0, 1, False),
    ("optimization.teacher_temperature", 0, math.inf, False),
    ("optimization.pct_start", 0, 1, True),
    ("optimization.div_factor", 1, math.inf, True),
    ("optimization.final_div_factor", 1, math.inf, True),
    ("training.max_epochs", 0, math.inf, False),
    ("training.max_minutes", 0, math.inf, False),
    ("training.save_every_minutes", 0, math.inf, True),
    ("training.max_nonfinite_losses", 1, math.inf, True),
    ("training.validate_every", 1, math.inf, True),
    ("training.seed", 0, 2**32 - 1, True),
    ("training.devices", 1, 1024, True),
    ("training.num_nodes", 1, 1024, True),
    ("training.limit_train_batches", 1, math.inf, True),
    ("training.limit_val_batches", 1, math.inf, True),
)


def _check_ranges(config: Config) -> None:
    for setting, low, high, low_allowed in _RANGES:
        value = get(config, setting)
        if value is None or isinstance(value, str):  # null and `auto`
            continue
        if not (math.isfinite(value) and (low <= value if low_allowed else low < value) and value <= high):
            least = f"at least {low:g}" if low_allowed else f"more than {low:g}"
            most = "" if high == math.inf else f" and at most {high:g}"
            raise UserError(f"--{setting} is {value}, but it must be {least}{most}.")
    for setting in ("data.mean", "data.std"):
        triple = get(config, setting)
        if triple is not None and not all(0 < value < 1 for value in triple):
            raise UserError(f"--{setting} is {list(triple)}, but each channel must lie between 0 and 1.")
    widths = config.model.widths
    if widths is not None and min(widths) < 1:
        raise UserError(f"--model.widths is {list(widths)}, but each stage needs at least 1 channel.")


def _check_combinations(config: Config) -> None:
    _check_pipeline(config)
    _check_resolutions(config.training)
    if config.augmentation.mixup_probability + config.augmentation.cutmix_probability > 1:
        raise UserError(
            "--augmentation.mixup_probability and --augmentation.cutmix_probability are shares of the batches: at most 1 together."
        )
    for setting in ("augmentation.cutout_mixed", "augmentation.random_erasing_mixed"):
        mixing = config.augmentation.mixup_probability + config.augmentation.cutmix_probability
        if not get(config, setting) and not mixing:
            raise UserError(
                f"--{setting} false needs --augmentation.mixup_probability or --augmentation.cutmix_probability."
            )
    if config.training.max_minutes is not None and config.training.num_processes > 1:
        raise UserError("--training.max_minutes needs one device: the clocks of several processes differ.")
    _check_model(config.model)
    _check_weight_decay(config.optimization)
    if config.optimization.nesterov and config.optimization.optimizer == "sgd" and config.optimization.momentum == 0:
        raise UserError("--optimization.nesterov needs --optimization.momentum above 0.")
    _check_averaging(config.optimization)
    _check_sam(config)
    if config.optimization.optimizer == "muon" and config.optimization.learning_rate == "auto":
        raise UserError("the learning-rate finder varies one learning rate, but muon has two; give both as numbers.")
    if config.optimization.optimizer == "muon" and config.optimization.cycle_momentum:
        raise UserError("--optimization.cycle_momentum true gives all parameters one momentum; muon needs it false.")
    if config.optimization.optimizer == "muon" and not config.optimization.nesterov:
        raise UserError("--optimization.optimizer muon has Nesterov momentum; --optimization.nesterov must be true.")
    if config.optimization.cycle_momentum and config.optimization.schedule != "one_cycle":
        raise UserError("--optimization.cycle_momentum true needs --optimization.schedule one_cycle.")
    if (config.data.mean is None) != (config.data.std is None):
        raise UserError("--data.mean and --data.std belong together: give both or neither.")


def _check_model(model: ModelConfig) -> None:
    for setting in ("stem", "shortcut"):
        value = getattr(model, setting)
        if value is not None and not model.name.startswith("resnet"):
            raise UserError(f"--model.{setting} {value} is for ResNets, but --model.name is {model.name}.")
    if model.widths is not None and model.name != "fast_net":
        raise UserError(f"--model.widths is for fast_net, but --model.name is {model.name}.")
    if model.stochastic_depth and model.name == "fast_net":
        raise UserError("--model.stochastic_depth leaves out residual blocks, but fast_net has none; give it 0.")


def _check_weight_decay(optimization: OptimizationConfig) -> None:
    if optimization.decoupled_weight_decay and optimization.optimizer != "sgd":
        already = "; that of adamw is decoupled already" if optimization.optimizer == "adamw" else ""
        raise UserError(f"--optimization.decoupled_weight_decay true is for sgd{already}; leave it out.")


def _check_averaging(optimization: OptimizationConfig) -> None:
    decay, last = optimization.ema_decay, optimization.ema_final_decay
    if decay is None:
        for setting, value in (("ema_start", optimization.ema_start), ("ema_final_decay", last)):
            if value:
                raise UserError(f"--optimization.{setting} needs --optimization.ema_decay, such as 0.999.")
    elif last is not None and last < decay:
        raise UserError(f"--optimization.ema_final_decay is {last:g}, but it must be at least ema_decay, {decay:g}.")


def _check_sam(config: Config) -> None:
    if config.optimization.sam == "none":
        return
    if config.training.precision == "16-mixed":  # its gradients must be scaled in both passes, and only one is
        raise UserError("--optimization.sam needs --training.precision bf16-mixed or 32-true, not 16-mixed.")


def _check_pipeline(config: Config) -> None:
    if config.data.pipeline == "packed":
        return
    if config.augmentation.flip == "alternating":
        raise UserError(
            "--augmentation.flip alternating needs --data.pipeline packed; with images use --augmentation.flip random."
        )
    if config.augmentation.policy != "none":
        raise UserError("--augmentation.policy needs --data.pipeline packed; with images leave it out.")
    for setting in (
        "augmentation.random_erasing_probability",
        "augmentation.mixup_probability",
        "augmentation.cutmix_probability",
        "training.resolutions",
    ):
        if get(config, setting):
            raise UserError(f"--{setting} needs --data.pipeline packed; with images leave it out.")


def _check_resolutions(training: TrainingConfig) -> None:
    resolutions, changes = training.resolutions or (32,), training.resolution_changes or ()
    if not all(16 <= side <= 64 for side in resolutions):
        raise UserError(f"--training.resolutions is {list(resolutions)}, but each must be at least 16 and at most 64.")
    if len(changes) != len(resolutions) - 1 or list(changes) != sorted(changes) or not all(0 < c < 1 for c in changes):
        raise UserError(
            f"--training.resolution_changes is {list(changes)}, but {len(resolutions)} resolutions need "
            f"{len(resolutions) - 1} rising numbers between 0 and 1."
        )
