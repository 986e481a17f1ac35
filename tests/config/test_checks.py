"""Every range, every prerequisite and every contradiction is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import pytest

from cifar100.config import SECTIONS, Config, ModelConfig, OptimizationConfig, settings
from cifar100.config.checks import _metadata, without_effect
from cifar100.config.declarations import Setting
from cifar100.config.types import Needs, NeedsAny, Range
from cifar100.errors import UserError


def with_value(config: Config, name: str, value: Any) -> Config:
    section, _, key = name.partition(".")
    return replace(config, **{section: replace(getattr(config, section), **{key: value})})


def candidates(setting: Setting) -> list[Any]:
    """Return values that the type of a setting may allow, the simplest first."""
    limits = list(_metadata(setting.annotation, Range))
    low = limits[0].minimum if limits else 0
    numbers = [low, low + 1, low + 0.01, 16, 0.5]
    lists = [(number,) * size for number in numbers for size in (1, 2, 3)]
    texts = [text for kind in _kinds(setting.annotation) if get_origin(kind) is Literal for text in get_args(kind)]
    return [*texts, True, False, *map(int, numbers), *numbers, *lists, "text"]


def _kinds(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "__metadata__"):
        yield from _kinds(annotation.__origin__)
    elif get_args(annotation) and get_origin(annotation) not in (Literal, tuple):
        for argument in get_args(annotation):
            yield from _kinds(argument)
    else:
        yield annotation


def fits(value: Any, setting: Setting) -> bool:
    from cifar100.config.conversion import convert

    if not all(limits.contains(value) for limits in _metadata(setting.annotation, Range)):
        return False
    try:
        return bool(convert("x", value, setting.annotation) == value)
    except UserError:
        return False


def other_value(setting: Setting) -> Any:
    return next(value for value in candidates(setting) if value != setting.default and fits(value, setting))


def unmet(need: Needs) -> dict[str, Any]:
    """Return values of other settings with which a prerequisite does not hold."""
    if isinstance(need, NeedsAny):
        return {name: value for each in need.alternatives for name, value in unmet(each).items()}
    needed = settings()[need.setting]
    values = [needed.default, *candidates(needed), 0, 0.0, "none"]
    return {
        need.setting: next(
            value
            for value in values
            if not need.is_met({need.setting: value}) and (value == needed.default or fits(value, needed))
        )
    }


DEFAULTS = {name: setting.default for name, setting in settings().items()}

PREREQUISITES = [(name, need) for name, setting in settings().items() for need in _metadata(setting.annotation, Needs)]
RANGES = [(name, limits) for name, setting in settings().items() for limits in _metadata(setting.annotation, Range)]


@pytest.mark.parametrize(("name", "need"), PREREQUISITES, ids=lambda value: str(value))
def test_a_changed_setting_without_its_prerequisite_is_refused_by_name(name: str, need: Needs) -> None:
    setting = settings()[name]
    values = {**DEFAULTS, **unmet(need), name: other_value(setting)}
    found = without_effect(values, {name: setting}, {})
    assert "needs --" in found[name]
    met = [each for each in _metadata(setting.annotation, Needs) if each.is_met(values)]
    assert need not in met


@pytest.mark.parametrize("name", [name for name, need in PREREQUISITES if not need.is_met(DEFAULTS)])
def test_a_config_refuses_it(name: str) -> None:
    with pytest.raises(UserError, match=rf"--{name} .* has no effect: it needs --.*; leave it out\.$") as caught:
        with_value(Config(), name, other_value(settings()[name]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "limits"), RANGES, ids=lambda value: str(value))
def test_a_message_names_the_exact_limits(name: str, limits: Range) -> None:
    shown = re.findall(r"(?:least|than|most) ([\d.,e-]+)", str(limits))
    ends = [end for end in (limits.minimum, limits.maximum) if end != math.inf]
    assert [float(number.replace(",", "")) for number in shown] == ends
    assert all(len(number) <= len("4,294,967,295") for number in shown)


@pytest.mark.parametrize(("name", "limits"), RANGES, ids=lambda value: str(value))
def test_the_ends_of_a_range(name: str, limits: Range) -> None:
    section, _, key = name.partition(".")
    lists = [kind for kind in _kinds(settings()[name].annotation) if get_origin(kind) is tuple]
    size = 3 if lists and get_args(lists[0])[-1] is not Ellipsis else 1

    def make(number: float) -> Any:
        return SECTIONS[section](**{key: (number,) * size if lists else number})

    leaves = {leaf for kind in _kinds(settings()[name].annotation) for leaf in (get_args(kind) or (kind,))}
    step = 1e-9 if float in leaves else 1
    if limits.above:
        make(limits.minimum + step)
    else:
        make(limits.minimum)
    wrong = [limits.minimum if limits.above else limits.minimum - step, *([math.nan, math.inf] if step < 1 else [])]
    if limits.maximum < math.inf:
        make(limits.maximum)
        wrong.append(limits.maximum + (max(step, limits.maximum * 1e-6) if step < 1 else 1))
    for number in wrong:
        with pytest.raises(
            UserError, match=rf"--{name} is .*, but (it|each value) must be (finite and )?{re.escape(str(limits))}\."
        ):
            make(number)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"augmentation.flip": "alternating", "data.pipeline": "images"},
            "flip alternating needs --data.pipeline packed",
        ),
        ({"augmentation.mixup_probability": 0.6, "augmentation.cutmix_probability": 0.5}, "add up to more than 1"),
        ({"data.mean": (0.5, 0.5, 0.5)}, "--data.mean and --data.std must be set together"),
        ({"training.resolutions": (16, 32)}, r"resolution_changes is \[\], but 2 resolutions need 1 number"),
        (
            {"optimization.momentum": 0.0},
            "--optimization.momentum is 0, .*; set --optimization.nesterov false",
        ),
        ({"training.loggers": ("csv", "csv")}, r"--training.loggers is \[csv, csv\], but a logger can be listed only"),
        (
            {"optimization.optimizer": "muon", "optimization.nesterov": False},
            "muon always has Nesterov momentum; leave out",
        ),
        ({"optimization.ema_decay": 0.99, "optimization.ema_final_decay": 0.9}, "ema_final_decay is 0.9, but"),
        (
            {
                "model.name": "timm/resnet18",
                "model.pretrained": True,
                "model.freeze": "backbone",
                "model.cache_features": True,
                "training.compile": "default",
            },
            "--training.compile default has no effect: it needs --model.cache_features false; leave it out",
        ),
        (
            {"optimization.sam": "sam", "training.precision": "16-mixed"},
            "--optimization.sam does not work with --training.precision",
        ),
        (
            {"optimization.sam": "friendly", "training.compile": "max-autotune"},
            "--optimization.sam does not work with --training.compile max-autotune, .*; use --training.compile default",
        ),
    ],
)
def test_a_contradiction_is_refused(changes: dict[str, Any], message: str) -> None:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    with pytest.raises(UserError, match=message) as caught:
        Config(**{name: SECTIONS[name](**values) for name, values in sections.items()})
    assert "\n" not in str(caught.value)


def test_a_setting_of_another_component_is_refused_and_the_settings_of_the_chosen_one_are_named() -> None:
    with pytest.raises(
        UserError, match=r"--model.widths \[1, 2, 3\] has no effect: --model.name resnet18 takes shortcut,"
    ):
        Config(model=ModelConfig(name="resnet18", widths=(1, 2, 3)))


def test_replacing_in_python_is_checked_as_the_command_line_is() -> None:
    config = Config()
    with pytest.raises(UserError, match=r"--optimization.learning_rate is -1"):
        replace(config, optimization=replace(config.optimization, learning_rate=-1.0))
    with pytest.raises(UserError, match=r"--data.batch_size is many, but it must be a whole number or auto\."):
        replace(config.data, batch_size="many")
    with pytest.raises(UserError, match=r"--optimization.sam_rho 0.5 has no effect"):
        replace(config, optimization=replace(config.optimization, sam_rho=0.5))
    assert replace(config, optimization=OptimizationConfig(sam="sam", sam_rho=0.5)).optimization.sam_rho == 0.5
