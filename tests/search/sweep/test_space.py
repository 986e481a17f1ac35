"""The file of a sweep: what it may hold, and one clear line for everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cifar100.config import get, settings
from cifar100.config.conversion import convert
from cifar100.config.declarations import Setting
from cifar100.config.types import Annotated, Range
from cifar100.errors import UserError
from cifar100.search.sweep import parameters
from cifar100.search.sweep.space import read_space

RATE = "optimization.learning_rate"
RANGE = {"low": 0.01, "high": 1.0, "log": True}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Any], Any]:
    """Writes content as the file of a sweep and reads it."""

    def write_and_read(content: Any) -> Any:
        path = tmp_path / "space.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return read_space(path)

    return write_and_read


def content(**changes: Any) -> dict[str, Any]:
    return {"recipe": "quickstart", "trials": 4, "space": {RATE: RANGE}, **changes}


def test_settings_may_be_written_below_their_sections(read: Callable[[Any], Any]) -> None:
    space = read(
        content(
            fixed={"training": {"max_epochs": 2}, "data.batch_size": 64},
            space={"optimization": {"learning_rate": RANGE}, "model.widths": [[8, 8, 8], [16, 16, 16]]},
        )
    )
    assert space.fixed == {"training.max_epochs": 2, "data.batch_size": 64}
    assert [parameter.name for parameter in space.parameters] == [RATE, "model.widths"]
    config = space.config({RATE: 0.5, "model.widths": (16, 16, 16)})
    assert (config.optimization.learning_rate, get(config, "model.widths")) == (0.5, (16, 16, 16))
    assert config.training.max_epochs == 2


def test_a_whole_number_is_varied_in_whole_numbers(read: Callable[[Any], Any]) -> None:
    space = read(content(space={"data.batch_size": {"low": 64, "high": 512, "log": True}, RATE: RANGE}))
    assert [parameter.is_int for parameter in space.parameters] == [True, False]


def test_a_whole_number_that_only_some_networks_take_is_varied_in_whole_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    depth = Setting("depth", Annotated[int, Range(1, 64)] | None, None, "")  # as `with_settings_of` declares it
    monkeypatch.setattr(parameters, "settings", lambda: {"model.depth": depth})
    assert parameters.read_parameter("model.depth", {"low": 10, "high": 40}).is_int


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.weights", Path("a" * 150) / "weights.safetensors"),
        ("training.resolutions", tuple(range(16, 48))),
        ("training.loggers", ("tensorboard", "csv")),
    ],
)
def test_a_long_value_is_kept_whole(name: str, value: Any) -> None:
    kept = parameters.stored(value)
    assert isinstance(kept, str)
    assert convert(name, kept, settings()[name].annotation) == value


def test_a_conditional_setting_follows_what_it_depends_on(read: Callable[[Any], Any]) -> None:
    rho = {"low": 0.05, "high": 0.3, "when": {"optimization.sam": ["sam", "friendly"]}}
    space = read(content(space={"optimization.sam_rho": rho, "optimization.sam": ["none", "sam", "friendly"]}))
    assert [parameter.name for parameter in space.parameters] == ["optimization.sam", "optimization.sam_rho"]
    applies = space.parameters[1].applies
    assert applies({"optimization.sam": "sam"})
    assert not applies({"optimization.sam": "none"})
    assert space.start() == {"optimization.sam": "none"}


REFUSED = [
    ([], "expected the keys recipe, trials"),
    ("a: [", "cannot be read"),
    (content(objective="test/accuracy"), "'objective' cannot be set: the objective is the validation accuracy"),
    (content(split="test"), "'split' cannot be set: .* test images are not used"),
    (content(trails=3), r"unknown key 'trails'"),
    (content(trials=None), "neither trials nor minutes is given"),
    (content(trials=0), "trials is 0, but it must be a whole number at least 1"),
    (content(minutes=-1), "minutes is -1, but it must be a number above 0"),
    (content(recipe="fats"), "no recipe 'fats'; did you mean fast"),
    (content(recipe="laptop"), r"recipe laptop trains on all images.*add fixed: \{data.validation_fraction: 0.1\}"),
    (content(sampler="grid"), "sampler is grid, but it must be one of tpe, random"),
    (content(pruner="best"), "pruner is best, but it must be one of median, hyperband, none"),
    (content(space={}), "space is empty"),
    (content(space={"optimization.learning_rat": RANGE}), "unknown setting 'optimization.learning_rat'; did you mean"),
    (content(fixed={"data.batchsize": 3}), "fixed: unknown setting 'data.batchsize'; did you mean data.batch_size"),
    (content(fixed={RATE: 0.1}), "is both under fixed and in the space"),
    (content(space={RATE: {"low": 1, "high": 0.1}}), "has an empty range, 1 to 0.1"),
    (content(space={RATE: {"low": 1, "high": 1}}), "has an empty range, 1 to 1"),
    (content(space={RATE: {"low": 0.1}}), "has no high"),
    (content(space={RATE: {"low": -1, "high": 1}}), "space: optimization.learning_rate is -1"),
    (content(space={RATE: {"low": 0.1, "high": 1, "log": True, "step": 0.1}}), "logarithmic, which needs"),
    (content(space={RATE: {"low": 0.1, "high": 1, "step": 2}}), "has step 2, but it must be above 0 and at most 0.9"),
    (content(space={RATE: {"low": 0.1, "high": 1, "lin": True}}), "has an unknown 'lin'|has an unknown lin"),
    (content(space={RATE: []}), "has no choices"),
    (content(space={RATE: [0.1]}), "has a single choice; set it under fixed"),
    (content(space={RATE: [0.1, 0.1]}), "has the choice 0.1 twice"),
    (content(space={RATE: 0.1}), r"is 0.1, but it must be \[VALUE, ...\]"),
    (content(space={"data.batch_size": ["small", 64]}), "space: data.batch_size is small, but it must be a whole"),
    (content(space={"data.batch_size": {"low": 1.5, "high": 64}}), "data.batch_size is 1.5, but it must be a whole"),
    (content(space={"training.seed": [0, 1]}), "a seed is not a hyperparameter; .* cifar100 trials --seeds N"),
    (content(space={"data.validation_fraction": [0.1, 0.2]}), "changes the validation images"),
    (content(space={"optimization.sam_rho": [0.1, 0.2]}), r"invalid combination \(optimization.sam_rho 0..\): .*needs"),
    (
        content(space={RATE: {**RANGE, "when": {"optimization.sam": "sam"}}}),
        "depends on optimization.sam, which is not in the space",
    ),
    (
        content(space={RATE: {**RANGE, "when": {"data.batch_size": 99}}, "data.batch_size": [64, 128]}),
        "depends on data.batch_size 99, but data.batch_size is varied over 64, 128",
    ),
    (
        content(
            space={
                RATE: {**RANGE, "when": {"data.batch_size": 64}},
                "data.batch_size": {"choices": [64, 128], "when": {RATE: 0.5}},
            }
        ),
        "form a circle",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_is_wrong_is_one_line_that_names_the_file(wrong: Any, message: str, read: Callable[[Any], Any]) -> None:
    with pytest.raises(UserError, match=message) as it:
        read(wrong)
    assert "space.yaml" in str(it.value)
    assert "\n" not in str(it.value)
