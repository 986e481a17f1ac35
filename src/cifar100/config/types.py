"""Ranges and prerequisites of settings, written beside the default as `Annotated` metadata.

    cutout_probability: Annotated[Probability, Needs("augmentation.cutout")] = 0.5

`cifar100.config` checks both. Annotations are evaluated in the namespace of this module, so that the settings of a
network or an augmentation can be read from its file without importing torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cifar100.config.shown_values import shown

__all__ = [
    "Annotated",
    "Any",
    "BetaParameter",
    "DropProbability",
    "Fraction",
    "LearningRate",
    "Literal",
    "Needs",
    "NonNegative",
    "Path",
    "Positive",
    "Prefix",
    "Probability",
    "Range",
]


@dataclass(frozen=True)
class Range:
    """Limits of a number, or of each number of a list. `null` and text such as `auto` are not checked.

    Args:
        minimum: the smallest value.
        maximum: the largest value.
        above: whether the minimum itself is excluded.
        multiple_of: a divisor of every allowed value; 1 allows all.
        why: the reason for the limits, if it is not obvious; part of the message.
    """

    minimum: float
    maximum: float = math.inf
    above: bool = False
    multiple_of: int = 1
    why: str = ""

    def contains(self, value: Any) -> bool:
        """Return whether every number in `value` is finite and within the limits."""
        return all(self._contains(number) for number in _numbers(value))

    def _contains(self, number: float) -> bool:
        large_enough = self.minimum < number if self.above else self.minimum <= number
        is_finite = number not in (math.inf, -math.inf)
        return large_enough and number <= self.maximum and is_finite and self._is_multiple(number)

    def _is_multiple(self, number: float) -> bool:
        return self.multiple_of == 1 or number % self.multiple_of == 0

    def __str__(self) -> str:
        """`at least 0 and at most 1`."""
        lower = f"{'more than' if self.above else 'at least'} {_limit(self.minimum)}"
        limits = lower if self.maximum == math.inf else f"{lower} and at most {_limit(self.maximum)}"
        limits = limits if self.multiple_of == 1 else f"a multiple of {self.multiple_of}, {limits}"
        return f"{limits} ({self.why})" if self.why else limits


@dataclass(frozen=True)
class Prefix:
    """A text must begin with this: the names of a family of components, such as `timm/`."""

    text: str

    def fits(self, value: Any) -> bool:
        """Return whether a value is a name of the family."""
        return isinstance(value, str) and value.startswith(self.text) and value != self.text


class Needs:
    """A prerequisite: without it the setting has no effect, and changing it is an error.

    Args:
        setting: full name of another setting, such as `optimization.sam`.
        values: one of these is required; if none are given, the setting must be switched on.
    """

    def __init__(self, setting: str, *values: Any) -> None:
        self.setting = setting
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Needs) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def is_met(self, values: Mapping[str, Any]) -> bool:
        """Return whether the prerequisite holds. values: every setting by its full name."""
        value = values[self.setting]
        return value in self.values if self.values else value not in (None, False, 0, "none")

    def __str__(self) -> str:
        """`--optimization.sam friendly`."""
        return f"--{self.setting} {' or '.join(map(shown, self.values))}".rstrip()


class NeedsAny(Needs):
    """A prerequisite: one of several settings is switched on.

    Args:
        settings: their full names.
    """

    def __init__(self, *settings: str) -> None:
        super().__init__(settings[0])
        self.alternatives = [Needs(setting) for setting in settings]

    def is_met(self, values: Mapping[str, Any]) -> bool:
        """Return whether one of the settings is switched on."""
        return any(need.is_met(values) for need in self.alternatives)

    def __str__(self) -> str:
        """`--augmentation.shift or --augmentation.rotate`."""
        return " or ".join(map(str, self.alternatives))


Probability = Annotated[float, Range(0, 1)]
DropProbability = Annotated[float, Range(0, 0.9)]
Fraction = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, 1e6, above=True)]
NonNegative = Annotated[float, Range(0, 1e6)]
LearningRate = Annotated[float, Range(0, 1e38, above=True, why="weights are float32")]
BetaParameter = Annotated[float, Range(0.001, 1000)]
"""Parameter of a Beta distribution. Beyond these limits it is as good as 0 and 1 alone, or as 0.5."""


def _limit(number: float) -> str:
    """Return a limit as people write it: `0.001`, `100,000`, `1e12`."""
    if abs(number) < 1e12:
        return f"{int(number):,}" if number == int(number) else str(number)
    return f"{number:g}".replace("e+", "e")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (list, tuple)):
        for element in value:
            yield from _numbers(element)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
