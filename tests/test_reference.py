"""The reference pages are those that the code gives, and the site lists every page."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import cifar100
from cifar100.cli.main import COMMANDS
from cifar100.config import settings
from cifar100.settings import recipe_names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date(generator: ModuleType) -> None:
    for name, text in generator.pages().items():
        written = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert written == text, f"docs/reference/{name} is out of date; run: uv run python docs/generate_reference.py"


def test_the_reference_has_every_command_setting_and_recipe(generator: ModuleType) -> None:
    pages = generator.pages()
    assert re.findall(r"^## (\S+)$", pages["commands.md"], re.MULTILINE) == list(COMMANDS)
    assert re.findall(r"^### (\S+)$", pages["settings.md"], re.MULTILINE) == list(settings())
    assert re.findall(r"^## (\S+)$", pages["recipes.md"], re.MULTILINE) == recipe_names()


def test_a_setting_has_its_type_default_range_and_prerequisite(generator: ModuleType) -> None:
    page = generator.pages()["settings.md"]
    section = page.partition("### optimization.sam_rho\n")[2].partition("###")[0]
    assert "- type: number\n- default: `0.2`\n- range: more than 0 and at most 1,000\n" in section
    assert "- needs `--optimization.sam`" in section


def test_a_type_is_in_words(generator: ModuleType) -> None:
    page = generator.pages()["settings.md"]
    types = dict(re.findall(r"^### (\S+)\n.*?^- type: (.*?)$", page, re.MULTILINE | re.DOTALL))
    assert types["data.mean"] == "list of 3 numbers or `null`"
    assert types["training.resolutions"] == "list of integers or `null`"
    assert types["training.loggers"] == "list of `tensorboard`, `csv`, `wandb`, `mlflow`"
    assert types["optimization.learning_rate"] == "number or `auto`"
    assert types["model.name"].endswith("or `timm/NAME`")


def test_the_reference_has_what_every_function_returns() -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^::: cifar100\.(\S+)$", page, re.MULTILINE))
    returned = set()
    for module in (ROOT / "src" / "cifar100" / "commands").glob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        places = {alias.name: node.module for node in imported for alias in node.names}
        for function in tree.body:
            if isinstance(function, ast.FunctionDef) and function.name in cifar100.__all__ and function.returns:
                names = [node.id for node in ast.walk(function.returns) if isinstance(node, ast.Name)]
                returned |= {f"{places[name]}.{name}" for name in names if "cifar100" in (places.get(name) or "")}
    assert len(returned) > 15
    assert sorted({name.removeprefix("cifar100.") for name in returned} - named) == []
    for name in named - {"commands"}:
        module_name, _, attribute = name.rpartition(".")
        path = ROOT / "src" / "cifar100" / Path(*module_name.split(".")).with_suffix(".py")
        defined = ast.parse(path.read_text(encoding="utf-8")).body
        assert attribute in {getattr(node, "name", "") for node in defined}, name


def test_the_site_lists_every_page() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]

    assert sorted(pages(site["nav"])) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
