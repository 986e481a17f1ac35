"""Every numeric setting at the ends of its range: a batch is trained, or one line says why not."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import small_overrides

from cifar100 import commands
from cifar100.config import settings
from cifar100.config.checks import _metadata, check_range
from cifar100.config.conversion import convert
from cifar100.config.declarations import Setting
from cifar100.config.types import Needs, NeedsAny, Range
from cifar100.errors import UserError
from cifar100.settings import load_config

ON: dict[str, Any] = {
    "augmentation.shift": 0.1,
    "augmentation.scale": 0.1,
    "augmentation.rotate": 10,
    "augmentation.cutout": 8,
    "augmentation.mixup_probability": 1,
    "augmentation.cutmix_probability": 1,
    "augmentation.random_erasing_probability": 1,
    "data.validation_fraction": 0.1,
    "data.num_folds": 100,
    "optimization.ema_decay": 0.5,
    "optimization.weight_decay": 0.1,
    "optimization.sam": "sam",
    "optimization.teacher": "teacher",
    "training.resolutions": [16, 32],
}
"""Values with which a setting is switched on, for those that need it."""

COMPANIONS: dict[str, dict[str, Any]] = {
    "data.mean": {"data.std": [0.2, 0.2, 0.2]},
    "data.std": {"data.mean": [0.5, 0.5, 0.5]},
    "optimization.ema_final_decay": {"optimization.ema_decay": 1e-6},
    "optimization.momentum": {"optimization.nesterov": False},
    "model.stochastic_depth": {"model.name": "resnet18", "model.widths": None},
    "training.resolution_changes": {"training.resolutions": [16, 32]},
    "training.max_epochs": {"training.max_minutes": 0.02},
    "training.max_minutes": {"training.max_epochs": 1},
    "augmentation.cutmix_probability": {"augmentation.mixup_probability": 0},
}
"""Other settings without which a value is refused for another reason."""

LENGTHS = {"training.resolutions": 1, "training.resolution_changes": 1}


def limits(setting: Setting) -> Range | None:
    found = list(_metadata(setting.annotation, Range))
    return found[0] if found else None


def ends(name: str, setting: Setting, allowed: Range) -> Iterator[Any]:
    """Yield the smallest and the largest value of a setting."""
    whole = "int" in str(setting.annotation) and "float" not in str(setting.annotation)
    smallest = math.nextafter(allowed.minimum, math.inf) if allowed.above else allowed.minimum
    for value in (smallest, allowed.maximum):
        number = int(value) if whole else float(value)
        if "tuple" in str(setting.annotation):
            yield [number] * LENGTHS.get(name, 3)
        else:
            yield number


NUMERIC = {name: setting for name, setting in settings().items() if limits(setting) is not None}
CASES = [
    (name, value) for name, setting in NUMERIC.items() for value in ends(name, setting, limits(setting) or Range(0))
]
QUICK = ("data.batch_size", "optimization.weight_decay", "optimization.learning_rate")


def prerequisites(name: str) -> dict[str, Any]:
    """Return settings that give a setting its effect."""
    found: dict[str, Any] = {}
    for need in _metadata(settings()[name].annotation, Needs):
        one = need.alternatives[0] if isinstance(need, NeedsAny) else need
        found |= prerequisites(one.setting) | {one.setting: one.values[0] if one.values else ON[one.setting]}
    return found


def test_every_number_has_two_finite_ends() -> None:
    for name, setting in settings().items():
        kinds = str(setting.annotation)
        if "int" in kinds or "float" in kinds:
            allowed = limits(setting)
            assert allowed is not None, f"{name} has no range"
            assert math.isfinite(allowed.maximum), f"{name} has no maximum"


@pytest.mark.parametrize("name", NUMERIC)
def test_a_number_beyond_its_range_gets_one_short_line(name: str) -> None:
    annotation = NUMERIC[name].annotation
    for value in (10**400, -(10**400), 1.7e308, math.inf, math.nan, "9" * 5000, -1e-300):
        wrong = [value] * 3 if "tuple" in str(annotation) else value
        with pytest.raises(UserError, match=rf"--{name} is .*, but (it|each value) must be ") as caught:
            check_range(name, convert(name, wrong, annotation), annotation)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
    with pytest.raises(UserError, match=rf"--{name} is .*10\^400.*, but"):
        load_config("original", overrides={name: [10**400] * 3 if "tuple" in str(annotation) else 10**400})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(name: str, value: Any, root: Path) -> str:
    """Train a batch with one setting at an end of its range; return the line with which it is refused, or nothing."""
    one_batch = {"training.limit_train_batches": 1, "training.limit_val_batches": 1, "training.loggers": []}
    overrides = small_overrides(root, **{**one_batch, "training.max_epochs": 1, "data.pipeline": "packed"})
    overrides |= prerequisites(name) | COMPANIONS.get(name, {}) | {name: value}
    if "optimization.teacher" in overrides:
        commands.train(load_config("quickstart", overrides=small_overrides(root, **one_batch)), experiment="teacher")
    try:
        commands.train(load_config("quickstart", overrides=overrides))
    except UserError as error:
        return str(error)
    return ""


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    resource = pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def check(name: str, value: Any, root: Path) -> None:
    before = peak_memory()
    line = train(name, value, root)
    assert "\n" not in line
    assert len(line) < 500
    assert peak_memory() - before < 2**30


@pytest.mark.parametrize(("name", "value"), [case for case in CASES if case[0] in QUICK])
def test_the_ends_of_a_range_train_or_get_one_line(name: str, value: Any, tiny_data: Path, folder: Path) -> None:
    check(name, value, tiny_data)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "value"), [case for case in CASES if case[0] not in QUICK])
def test_the_ends_of_every_range_train_or_get_one_line(name: str, value: Any, tiny_data: Path, folder: Path) -> None:
    check(name, value, tiny_data)
