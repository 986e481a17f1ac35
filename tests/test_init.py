"""The Python API: names that are loaded on first use, and the environment that torch reads."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys

import pytest

import cifar100


def python(program: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in cifar100.TORCH_ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env={**environment, **variables}
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", cifar100.__all__)
def test_every_name_resolves_to_what_it_says(name: str) -> None:
    value = getattr(cifar100, name)
    assert callable(value)
    assert value.__name__ == name
    assert value.__doc__


@pytest.mark.parametrize("name", sorted({*cifar100.__all__} - {"Config"}))
def test_every_function_says_what_it_takes_returns_and_raises(name: str) -> None:
    function = getattr(cifar100, name)
    text, parameters = inspect.getdoc(function) or "", inspect.signature(function).parameters
    shared = re.search(r"Takes the arguments of `(\w+)`", text)
    described = text if shared is None else inspect.getdoc(getattr(cifar100, shared[1])) or ""
    for parameter, facts in parameters.items():
        assert re.search(rf"^    {parameter}: [\w`]", described, re.MULTILINE), parameter
        assert facts.annotation is not facts.empty
    returned = inspect.signature(function).return_annotation
    assert ("\nReturns:\n    " in text) == (returned != "None"), returned
    assert not parameters or "\nRaises:\n    UserError: " in text


def test_names_are_listed_and_others_are_refused() -> None:
    assert set(cifar100.__all__) <= set(dir(cifar100))
    assert cifar100.__all__ == sorted(cifar100.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'tarin'"):
        _ = cifar100.tarin
    with pytest.raises(ImportError):
        from cifar100 import tarin  # noqa: F401


def test_importing_and_using_the_light_names_loads_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, cifar100\n"
        "from cifar100 import *\n"
        "cifar100.list_recipes(), cifar100.list_runs(), cifar100.list_models(), load_config('fast'), train, Config\n"
        "print([name for name in ('torch', 'numpy', 'lightning', 'PIL', 'cv2') if name in sys.modules])"
    )
    assert python(program) == "[]"


def test_a_name_never_hides_a_package() -> None:
    """An import of the package `cifar100.runs` would replace a function `cifar100.runs`."""
    program = (
        "import importlib.util, cifar100\n"
        "print([name for name in cifar100.__all__ if importlib.util.find_spec(f'cifar100.{name}')])"
    )
    assert python(program) == "[]"


def test_importing_sets_what_torch_reads_and_keeps_what_the_user_has_set() -> None:
    program = "import os, cifar100; print(*(os.environ[name] for name in cifar100.TORCH_ENVIRONMENT))"
    assert python(program) == "PASSIVE 1000 1 6"
    assert python(program, OMP_WAIT_POLICY="ACTIVE", PYTORCH_ENABLE_MPS_FALLBACK="0") == "ACTIVE 1000 0 6"
