"""Which settings differ, and which runs are repetitions of each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evaluated_runs import right, write_evaluated

from cifar100.config import settings
from cifar100.results.comparison.variants import (
    WITHOUT_EFFECT,
    differing_settings,
    effective_settings,
    group_by_settings,
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def of_run(name: str, **overrides: Any) -> dict[str, Any]:
    return effective_settings(write_evaluated(name, right(3, of=6), settings=overrides))


def test_only_what_differs_is_named() -> None:
    one = of_run("one")
    other = of_run("other", **{"training.seed": 7, "model.widths": [8, 8, 8], "optimization.weight_decay": 0.1})
    assert differing_settings([one, one | {"training.seed": 7}]) == {}
    assert differing_settings([one, other]) == {
        "model.widths": [[24, 48, 96], [8, 8, 8]],
        "optimization.weight_decay": [5e-4, 0.1],
    }


def test_runs_that_differ_only_in_the_seed_are_one_group() -> None:
    runs = [
        of_run("a"),
        of_run("b", **{"training.max_epochs": 9}),
        of_run("c", **{"training.seed": 1}),
        of_run("d", **{"training.seed": 2, "training.max_epochs": 9}),
        of_run("e", **{"data.validation_fraction": 0.2}),
    ]
    assert group_by_settings(runs) == [[0, 2], [1, 3], [4]]
    assert group_by_settings([runs[0], runs[0] | {"recipe": None}]) == [[0, 1]]


def test_settings_without_effect_on_the_result_do_not_divide_a_group() -> None:
    assert set(WITHOUT_EFFECT) <= settings().keys()
    one = of_run("one")
    recorded = {"training.loggers": [], "training.save_every_minutes": 9, "training.profile": True}
    assert one == of_run("other", **{"data.root": "elsewhere", **recorded})
    workers = [of_run(f"{n}", **{"data.pipeline": "images", "data.num_workers": n}) for n in (1, 2)]
    assert workers[0] == workers[1]


def test_a_learning_rate_of_the_range_test_is_auto_for_every_seed() -> None:
    run = write_evaluated("a", right(3, of=6), settings={"optimization.learning_rate": 0.123})
    assert effective_settings(run)["optimization.learning_rate"] == 0.123
    run.lr_finder_points.write_text("{}")
    assert effective_settings(run)["optimization.learning_rate"] == "auto"


def test_what_the_configuration_cannot_name_divides_a_group_as_well() -> None:
    one, other, third = (write_evaluated(name, right(3, of=6)) for name in "abc")
    other.custom_parts.write_text(json.dumps({"loss": "MyLoss"}))
    info = json.loads(third.dataset_info.read_text())
    third.dataset_info.write_text(json.dumps({**info, "num_train": 5}))
    found = [effective_settings(run) for run in (one, other, third)]
    assert group_by_settings(found) == [[0], [1], [2]]
    assert differing_settings(found[:2]) == {"custom loss": [None, "MyLoss"]}
    assert differing_settings(found[::2]) == {"training images": ["6, sha256 unknown", "5, sha256 unknown"]}
