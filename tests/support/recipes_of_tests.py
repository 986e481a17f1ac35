"""The recipes as parameters of tests. Those of large networks take ten seconds and more each: they are slow tests."""

from __future__ import annotations

from typing import Any

import pytest

from cifar100.settings import recipe_names

SLOW = ("best", "strong")


def recipes_of_tests() -> list[Any]:
    """Return a parameter for each recipe."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in recipe_names()]
