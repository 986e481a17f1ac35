"""The settings that a sweep varies: the values of each, and the condition under which it is varied."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from cifar100.config import settings
from cifar100.config.checks import check_range
from cifar100.config.conversion import convert
from cifar100.config.settings_file import setting_names
from cifar100.config.shown_values import shown
from cifar100.config.suggestions import did_you_mean
from cifar100.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = Any
"""Of a setting."""

NOT_VARIED = {
    "training.seed": "a seed is not a hyperparameter; repeat the result with cifar100 trials --seeds N",
    **dict.fromkeys(
        (
            *("data.root", "data.source", "data.validation_fraction", "data.num_folds", "data.fold"),
            *("data.split_seed", "data.group_duplicates", "data.exclude", "training.limit_val_batches"),
        ),
        "it changes the validation images, on which the trials are compared; set it under fixed",
    ),
}
"""Settings that a sweep does not vary, and why."""

_RANGE_KEYS = ("low", "high", "log", "int", "step")
_KEYS = (*_RANGE_KEYS, "choices", "when")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting that a sweep varies."""

    name: str
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """Other settings of the sweep, each with the values for which this one is varied."""

    choices: tuple[Value, ...] = ()
    """Its values; empty for a range."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    is_int: bool = False
    step: float | None = None

    def suggest(self, trial: Trial) -> Value:
        """Return the value that a trial tries. Lists are kept as text."""
        if self.choices:
            found = trial.suggest_categorical(self.name, [stored(value) for value in self.choices])
            return next(value for value in self.choices if stored(value) == found)
        if self.is_int:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log, step=step)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step)

    def contains(self, value: Value) -> bool:
        """Return whether the sweep may try a value."""
        if self.choices:
            return value in self.choices
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return math.isclose(steps, round(steps), abs_tol=1e-9) and (not self.is_int or float(value).is_integer())

    def corners(self) -> tuple[Value, ...]:
        """Return the choices, or the ends of the range."""
        return self.choices or (self.low, self.high)

    def applies(self, others: Mapping[str, Value]) -> bool:
        """Return whether its condition holds, given the values of the settings before it."""
        return all(name in others and others[name] in values for name, values in self.when.items())

    def __str__(self) -> str:
        """`0.01 to 1, logarithmic` or `128, 256`."""
        if self.choices:
            return ", ".join(map(shown, self.choices))
        ends = f"{self.low:g} to {self.high:g}"
        return ends + (f" in steps of {self.step:g}" if self.step else "") + ", logarithmic" * self.log


def stored(value: Value) -> Any:
    """Return a value as Optuna's storages keep it: scalars as they are, all else as text that is never cut."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, tuple) else str(value)


def plain(value: Value) -> Any:
    """Return a value as YAML and JSON hold it: a list for a tuple, text for a path."""
    return list(value) if isinstance(value, tuple) else value.as_posix() if isinstance(value, Path) else value


def read_parameter(name: str, entry: Any) -> Parameter:
    """Return what an entry of `space` describes.

    Raises:
        UserError: the setting is unknown or cannot be varied, or its values are none.
    """
    check_setting(name, "space")
    if name in NOT_VARIED:
        raise UserError(f"space: {name} cannot be varied: {NOT_VARIED[name]}.")
    content = {"choices": entry} if isinstance(entry, list) else entry
    if not isinstance(content, dict):
        raise UserError(
            f"space: {name} is {shown(entry)}, but it must be [VALUE, ...] or {{low: NUMBER, high: NUMBER}}."
        )
    for key in content.keys() - set(_KEYS):
        raise UserError(f"space: {name} has an unknown {shown(key)}; choose from: {', '.join(_KEYS)}.")
    when = _read_condition(name, content.get("when"))
    if "choices" in content:
        if extra := [key for key in _RANGE_KEYS if key in content]:
            raise UserError(f"space: {name} has choices and {extra[0]}; use one or the other.")
        return Parameter(name=name, when=when, choices=_read_choices(name, content["choices"]))
    return _read_range(name, content, when)


def check_setting(name: Any, where: str) -> None:
    """Refuse an unknown setting.

    Raises:
        UserError: names it, and a known one that is like it.
    """
    if name not in settings():
        raise UserError(f"{where}: unknown setting {shown(name)!r}{did_you_mean(str(name), setting_names())}")


def checked(name: str, value: Any, where: str) -> Value:
    """Return a value in the type of its setting.

    Raises:
        UserError: it is of another type, or out of range.
    """
    annotation = settings()[name].annotation
    try:
        converted = convert(name, value, annotation)
        check_range(name, converted, annotation)
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix('--')}") from error
    return converted


def ordered(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """Return the parameters such that each follows those that its condition names.

    Raises:
        UserError: a condition names a setting that is not varied, or a value that it never has; or they form a circle.
    """
    waiting = {parameter.name: parameter for parameter in parameters}
    for parameter in waiting.values():
        for other, values in parameter.when.items():
            if other not in waiting:
                raise UserError(f"space: {parameter.name} depends on {other}, which is not in the space.")
            for value in values:
                if not waiting[other].contains(value):
                    raise UserError(
                        f"space: {parameter.name} depends on {other} {shown(value)}, but {other} is varied over "
                        f"{waiting[other]}."
                    )
    found: dict[str, Parameter] = {}
    while waiting:
        ready = [parameter for parameter in waiting.values() if parameter.when.keys() <= found.keys()]
        if not ready:
            raise UserError(f"space: the conditions of {' and '.join(waiting)} form a circle.")
        for parameter in ready:
            found[parameter.name] = waiting.pop(parameter.name)
    return tuple(found.values())


def _read_choices(name: str, values: Any) -> tuple[Value, ...]:
    if not isinstance(values, list) or not values:
        raise UserError(f"space: {name} has no choices; list at least two, as in [VALUE, VALUE].")
    choices = tuple(checked(name, value, "space") for value in values)
    if len(choices) == 1:
        raise UserError(f"space: {name} has a single choice; set it under fixed.")
    texts = [stored(choice) for choice in choices]
    for text in texts:
        if texts.count(text) > 1:
            raise UserError(f"space: {name} has the choice {shown(text)} twice; remove one.")
    return choices


def _read_range(name: str, content: dict[str, Any], when: Mapping[str, tuple[Value, ...]]) -> Parameter:
    for key in ("low", "high"):
        if key not in content:
            raise UserError(f"space: {name} has no {key}; use {{low: NUMBER, high: NUMBER}} or [VALUE, ...].")
    low, high = (checked(name, content[key], "space") for key in ("low", "high"))
    log, is_int, step = content.get("log", False), content.get("int", _is_whole(name)), content.get("step")
    for key, value in (("low", low), ("high", high), ("step", 1 if step is None else step)):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise UserError(f"space: {name} has {key} {shown(value)}, but a range needs a number; use [VALUE, ...].")
    for key, value in (("log", log), ("int", is_int)):
        if not isinstance(value, bool):
            raise UserError(f"space: {name} has {key} {shown(value)}, but it must be true or false.")
    if not low < high:
        raise UserError(f"space: {name} has an empty range, {low:g} to {high:g}; low must be less than high.")
    if is_int and not all(float(value).is_integer() for value in (low, high, step or 1)):
        raise UserError(
            f"space: {name} is a whole number, but its range is {low:g} to {high:g} in steps of {step or 1:g}."
        )
    if log and (step is not None or low <= 0):
        raise UserError(f"space: {name} is logarithmic, which needs low above 0 and no step.")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"space: {name} has step {step:g}, but it must be above 0 and at most {high - low:g}.")
    return Parameter(name=name, when=when, low=low, high=high, log=log, is_int=is_int, step=step)


def _is_whole(name: str) -> bool:
    """Return whether a setting takes whole numbers alone."""
    kinds = set(_kinds(settings()[name].annotation))
    return int in kinds and float not in kinds


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation allows."""
    if hasattr(annotation, "__metadata__"):
        yield from _kinds(annotation.__origin__)
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    else:
        yield annotation


def _read_condition(name: str, when: Any) -> dict[str, tuple[Value, ...]]:
    if when is None:
        return {}
    if not isinstance(when, dict) or not when:
        raise UserError(f"space: {name} has the condition {shown(when)}, but it must be {{SETTING: VALUE}}.")
    found = {}
    for other, values in when.items():
        check_setting(other, f"space: {name}: when")
        listed = values if isinstance(values, list) else [values]
        found[other] = tuple(checked(other, value, f"space: {name}: when") for value in listed)
    return found
