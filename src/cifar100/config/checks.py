"""The checks of a `Config`: ranges, settings without effect, contradictions."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from cifar100.config.declarations import Setting
from cifar100.config.shown_values import shown, shown_setting
from cifar100.config.types import Needs, Range
from cifar100.errors import UserError

if TYPE_CHECKING:
    from cifar100.config import Config, DataConfig, OptimizationConfig, TrainingConfig

Choices = Mapping[str, tuple[str, frozenset[str], frozenset[str]]]
"""Setting that names a component -> the name, the settings it takes, the settings that only other components take."""


def check_ranges(section: Any, name: str, settings: Iterable[Setting]) -> None:
    """Refuse values of a section that are out of range.

    Raises:
        UserError: names the setting, its value and its range.
    """
    for setting in settings:
        check_range(f"{name}.{setting.name}", getattr(section, setting.name), setting.annotation)


def check_range(name: str, value: Any, annotation: Any) -> None:
    """Refuse a value that is out of the range of its setting.

    Raises:
        UserError: names the setting, its value and its range.
    """
    for limits in _metadata(annotation, Range):
        if not limits.contains(value):
            each = "each value" if isinstance(value, (list, tuple)) else "it"
            finite = "finite and " if value in (math.inf, -math.inf) else ""
            raise UserError(f"--{name} is {shown_setting(value)}, but {each} must be {finite}{limits}.")


def without_effect(values: Mapping[str, Any], settings: Mapping[str, Setting], choices: Choices) -> dict[str, str]:
    """Return the settings that differ from their defaults although nothing uses them, with the reason.

    values: every setting by its full name.
    """
    found: dict[str, str] = {}
    for name, setting in settings.items():
        if values[name] != setting.default:
            missing = [need for need in _metadata(setting.annotation, Needs) if not need.is_met(values)]
            found |= {name: f"it needs {missing[0]}"} if missing else {}
    for selector, (chosen, taken, others) in choices.items():
        takes = ", ".join(sorted(name.partition(".")[2] for name in taken)) or "no settings"
        for name in others:
            if values[name] is not None:
                found[name] = f"--{selector} {chosen} takes {takes}"
    return found


def check_effects(values: Mapping[str, Any], settings: Mapping[str, Setting], choices: Choices) -> None:
    """Refuse a setting that has no effect.

    Raises:
        UserError: names the first such setting and what it needs.
    """
    for name, reason in without_effect(values, settings, choices).items():
        raise UserError(f"--{name} {shown_setting(values[name])} has no effect: {reason}; leave it out.")


def check_combinations(config: Config) -> None:
    """Refuse settings that contradict each other.

    Raises:
        UserError: names the settings.
    """
    augmentation, data, training = config.augmentation, config.data, config.training
    if augmentation.flip == "alternating" and data.pipeline != "packed":
        raise UserError(
            "--augmentation.flip alternating needs --data.pipeline packed; with images use --augmentation.flip random."
        )
    if augmentation.mixup_probability + augmentation.cutmix_probability > 1:
        raise UserError(
            "--augmentation.mixup_probability and --augmentation.cutmix_probability add up to more than 1; lower one."
        )
    if config.model.weights is not None and config.model.pretrained:
        raise UserError("--model.weights and --model.pretrained both set the weights to start from; use only one.")
    if (data.mean is None) != (data.std is None):
        raise UserError("--data.mean and --data.std must be set together; set both or neither.")
    if data.sampler == "balanced" and config.optimization.class_weights == "balanced":
        raise UserError(
            "--data.sampler balanced and --optimization.class_weights balanced each compensate for unequal classes, "
            "and together they compensate twice; use only one."
        )
    _check_folds(data)
    _check_length(training)
    _check_optimizer(config.optimization)
    if len(set(training.loggers)) < len(training.loggers):
        found = f"--training.loggers is {shown(training.loggers)}"
        raise UserError(f"{found}, but a logger can be listed only once; remove the repetition.")
    if config.optimization.sam != "none":
        _check_sam(training)


def _check_folds(data: DataConfig) -> None:
    if data.num_folds is None:
        return
    if data.fold >= data.num_folds:
        raise UserError(
            f"--data.fold is {data.fold}, but {data.num_folds} folds are numbered 0 to {data.num_folds - 1}; use one "
            "of these."
        )
    if data.validation_fraction not in (0, type(data).validation_fraction):
        raise UserError(
            f"--data.validation_fraction {data.validation_fraction:g} has no effect with --data.num_folds; leave it "
            "out."
        )


def _check_length(training: TrainingConfig) -> None:
    resolutions, changes = training.resolutions or (32,), training.resolution_changes or ()
    if len(changes) != len(resolutions) - 1 or list(changes) != sorted(changes) or 1 in changes:
        number = len(resolutions) - 1
        example = [round(place / (number + 1), 2) for place in range(1, number + 1)]
        count = "1 number" if number == 1 else f"{number} rising numbers"
        need = f"{count} between 0 and 1, as in {shown(example)}" if number else "none; leave it out"
        raise UserError(
            f"--training.resolution_changes is {shown(changes)}, but {len(resolutions)} resolutions need {need}."
        )


def _check_optimizer(optimization: OptimizationConfig) -> None:
    if optimization.optimizer == "sgd" and optimization.nesterov and optimization.momentum == 0:
        raise UserError(
            "--optimization.momentum is 0, but Nesterov momentum needs more; set --optimization.nesterov false."
        )
    if optimization.optimizer == "muon" and not optimization.nesterov:
        raise UserError(
            "--optimization.optimizer muon always has Nesterov momentum; leave out --optimization.nesterov false."
        )
    first, final = optimization.ema_decay, optimization.ema_final_decay
    if first is not None and final is not None and final < first:
        raise UserError(f"--optimization.ema_final_decay is {final:g}, but it must be at least ema_decay, {first:g}.")


def _check_sam(training: TrainingConfig) -> None:
    if training.precision == "16-mixed":
        # The gradient scaler would have to scale both passes, but it scales only one.
        raise UserError(
            "--optimization.sam does not work with --training.precision 16-mixed; use bf16-mixed or 32-true."
        )
    if training.compile in ("reduce-overhead", "max-autotune"):
        # The first backward pass of SAM ends a generation of torch's CUDA graphs, whose outputs are then overwritten.
        raise UserError(
            f"--optimization.sam does not work with --training.compile {training.compile}, whose CUDA graphs overwrite "
            "the outputs of its first pass; use --training.compile default."
        )


def _metadata(annotation: Any, kind: type) -> Iterator[Any]:
    """Yield the metadata of one kind at any depth of an annotation."""
    yield from (item for item in getattr(annotation, "__metadata__", ()) if isinstance(item, kind))
    inner = getattr(annotation, "__origin__", None) if hasattr(annotation, "__metadata__") else None
    if inner is not None:
        yield from _metadata(inner, kind)
    elif get_origin(annotation) in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _metadata(argument, kind)
