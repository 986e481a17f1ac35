"""Components declare their settings in their own files, which are read without importing them."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

import cifar100
from cifar100.config import declarations
from cifar100.config.declarations import (
    attribute_docstrings,
    component_named,
    components,
    is_family,
    with_settings_of,
)
from cifar100.config.types import Range

NETWORK = '''
"""A network for a test."""

from torch import nn

from cifar100.config.types import Annotated, Range
from cifar100.models import network


@network("{name}")
def build(name: str, num_classes: int, *, {setting}: {type} = {default}) -> nn.Module:
    """Build a linear classifier.

    Args:
        name: of the network.
        num_classes: width of the logits.
        {setting}: Units of the hidden
            layer.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, {setting}), nn.ReLU(), nn.Linear({setting}, num_classes))
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package; `components` looks there."""
    monkeypatch.setattr(declarations, "PACKAGE", tmp_path)
    components.cache_clear()
    (tmp_path / "nets").mkdir()
    return tmp_path / "nets"


def add(folder: Path, name: str, *, setting: str = "units", kind: str = "int", default: str = "8") -> None:
    (folder / f"{name}.py").write_text(NETWORK.format(name=name, setting=setting, type=kind, default=default))


def test_a_function_with_the_decorator_is_a_component(package: Path) -> None:
    add(package, "one", kind="Annotated[int, Range(1)]")
    add(package, "two", default="16")
    (package / "helper.py").write_text("def build(*, a=1): ...\n")
    found = components("nets", "network")
    assert list(found) == ["one", "two"]
    assert found["one"].summary == "Build a linear classifier."
    (setting,) = found["one"].settings
    assert (setting.name, setting.default, setting.help) == ("units", 8, "Units of the hidden layer.")
    assert setting.annotation == Annotated[int, Range(1)]
    assert (found["two"].module, found["two"].attribute) == ("cifar100.nets.two", "build")


def test_the_keywords_of_a_decorator_are_facts_about_its_names(package: Path) -> None:
    add(package, "one")
    text = (package / "one.py").read_text()
    decorators = '@network("small", paper="Lee 2020", parameters=5)\n@network("large", "huge", parameters=1_000)'
    (package / "one.py").write_text(text.replace('@network("one")', decorators))
    found = components("nets", "network")
    assert list(found) == ["small", "large", "huge"]
    assert found["small"].facts == {"paper": "Lee 2020", "parameters": 5}
    assert found["large"].facts == found["huge"].facts == {"parameters": 1_000}
    assert found["small"].settings == found["huge"].settings != ()


def test_a_class_with_the_base_is_a_component(package: Path) -> None:
    (package / "cut.py").write_text(
        'class Cut(base.Augmentation):\n    """Cut a hole."""\n\n    side: int = 4\n    """Side in pixels."""\n\n'
        "    kind: ClassVar[str] = 'x'\n    stream = 3\n"
    )
    (component,) = components("nets", "Augmentation").values()
    assert (component.name, component.summary) == ("Cut", "Cut a hole.")
    assert [(s.name, s.annotation, s.default, s.help) for s in component.settings] == [
        ("side", int, 4, "Side in pixels.")
    ]


def test_a_name_that_is_declared_twice_is_a_bug(package: Path) -> None:
    add(package, "one")
    (package / "two.py").write_text((package / "one.py").read_text())
    with pytest.raises(TypeError, match=r"one is declared twice: cifar100\.nets\.one, cifar100\.nets\.two"):
        components("nets", "network")


def test_a_setting_with_two_types_is_a_bug(package: Path) -> None:
    add(package, "one")
    add(package, "two", kind="float", default="0.5")
    with pytest.raises(TypeError, match="setting units in nets has another type"):

        @dataclass
        @with_settings_of("nets", "network", chosen_by="name")
        class Section:
            name: str = "one"


def test_two_components_may_share_a_setting(package: Path) -> None:
    add(package, "one")
    add(package, "two", default="16")

    @dataclass
    @with_settings_of("nets", "network", chosen_by="name")
    class Section:
        name: str = "one"

    assert Section().units is None  # type: ignore[attr-defined]
    assert Section.__annotations__["units"] == (int | None)


def test_only_one_of_the_components_that_share_a_setting_need_describe_it(package: Path) -> None:
    for name in ("a", "b", "c"):
        add(package, name)
    for name in ("a", "c"):
        text = (package / f"{name}.py").read_text()
        (package / f"{name}.py").write_text(
            text.replace("        units: Units of the hidden\n            layer.\n", "")
        )

    @dataclass
    @with_settings_of("nets", "network", chosen_by="name")
    class Section:
        name: str = "a"

    assert Section.declared_help["units"] == "Units of the hidden layer."  # type: ignore[attr-defined]


def test_attribute_docstrings() -> None:
    (source,) = ast.parse(
        'class A:\n    x: int = 1\n    """Some\n    text."""\n    y: int = 2\n    z = 3\n    "no"\n'
    ).body
    assert isinstance(source, ast.ClassDef)
    assert attribute_docstrings(source) == {"x": "Some text."}


def test_a_network_is_one_file(tmp_path: Path, tiny_data: Path) -> None:
    """One new file in a copy of the package: its settings are in `--help`, are checked, and it trains."""
    copied = Path(shutil.copytree(Path(cifar100.__file__).parent, tmp_path / "src" / "cifar100"))
    add(copied / "models", "tiny_net", setting="hidden_units", kind="Annotated[int, Range(1)]", default="32")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        command = [sys.executable, "-m", "cifar100", "train", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    shown = " ".join(run("--help").stdout.split())
    assert "--model.hidden_units VALUE Units of the hidden layer. (default: 32)" in shown
    assert "tiny_net" in run("--model.name", "nothing").stderr
    wrong = run("--model.name", "tiny_net", "--model.hidden_units", "0")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "--model.hidden_units is 0, but it must be at least 1." in wrong.stderr
    given = {"data.root": tiny_data, "data.source": "generated", "model.name": "tiny_net", "training.max_epochs": 1}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    done = run("--recipe", "quickstart", "--model.hidden_units", "16", "--training.accelerator", "cpu", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"tiny_net, {3073 * 16 + 17 * 100:,} parameters" in done.stdout


def test_a_family_stands_for_all_names_that_begin_with_it() -> None:
    known = components("models", "network")
    assert component_named("timm/resnet18", known).name == "timm/"
    assert component_named("resnet18", known).name == "resnet18"
    assert [name for name in known if is_family(name)] == ["timm/"]
