"""A refactoring reproduces the losses that are stored in `tests/golden/`."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from golden_runs import GOLDEN, TOLERANCES, draw_data, run, stored
from installed_timm import skip_without_timm
from recipes_of_tests import recipes_of_tests

from cifar100.settings import load_config, recipe_names


@pytest.fixture(scope="module")
def golden_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_data(tmp_path_factory.mktemp("golden") / "data")


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"),
    reason="Shapes-100 has other pixels: OpenCV rounds differently on other processors",
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe", recipes_of_tests())
def test_losses_are_those_stored(recipe: str, golden_data: Path) -> None:
    expected = json.loads(stored(recipe).read_text())
    if load_config(recipe).model.pretrained:
        skip_without_timm()
    losses = run(recipe, golden_data)
    assert losses["train/loss"][0] == pytest.approx(expected["train/loss"][0], rel=1e-5)
    for name, values in expected.items():
        assert losses[name] == pytest.approx(values, rel=TOLERANCES.get(recipe, 1e-5)), name


def test_every_recipe_has_stored_losses() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(recipe_names())
