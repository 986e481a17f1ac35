"""Read the settings that a network, an augmentation or a loss declares in its file, without importing the file.

A component (a network, an augmentation, a loss, a logger) keeps its settings beside its code. `Config` and `--help`
need those settings, but importing the file would load torch, which takes seconds. The source is read instead, as
setuptools reads `attr:` values: types are evaluated in `cifar100.config.types`, defaults are literals, docstrings
become the help. A component is either

- a function with a decorator, such as `@network("resnet18", paper="He et al. 2016")`; its keyword-only arguments are
  its settings, and the decorator's keywords are facts about it. A name that ends in `/`, such as `timm/`, is a family:
  the function also makes what `timm/NAME` names,
- or a dataclass with a base class, such as `class Cutout(Augmentation)`; its fields are its settings.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import docstring_parser

from cifar100.config import types as setting_types

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setting:
    """One setting: its type with its range and prerequisites, its default, and its help text."""

    name: str
    annotation: Any
    default: Any
    help: str


@dataclass(frozen=True)
class Component:
    """One declared name and its settings."""

    name: str
    summary: str
    """First line of the docstring."""
    module: str
    attribute: str
    """Name of the function or class in the module."""
    settings: tuple[Setting, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The keyword arguments of the decorator, which are literals."""

    def load(self) -> Any:
        """Import the module and return the function or class."""
        return getattr(import_module(self.module), self.attribute)


@cache
def components(path: str, marker: str) -> dict[str, Component]:
    """Return the components below a path, by name.

    Args:
        path: a package folder or a module below `src/cifar100`, such as `models` or `training/loss.py`.
        marker: name of the decorator or of the base class.
    """
    place = PACKAGE / path
    found: dict[str, Component] = {}
    for file in [place] if place.suffix == ".py" else sorted(place.glob("*.py")):
        module = ".".join(["cifar100", *file.relative_to(PACKAGE).with_suffix("").parts])
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            for component in _declared(node, marker, module):
                if component.name in found:
                    raise TypeError(f"{component.name} is declared twice: {found[component.name].module}, {module}")
                found[component.name] = component
    return found


def component_named(name: str, known: Mapping[str, Component]) -> Component:
    """Return the component of a name, or that of its family: `timm/resnet18` belongs to `timm/`."""
    return known[name] if name in known else known[f"{name.partition('/')[0]}/"]


def is_family(name: str) -> bool:
    """Return whether a declared name stands for all names that begin with it."""
    return name.endswith("/")


def attribute_docstrings(source: ast.ClassDef) -> dict[str, str]:
    """Return the docstring under each annotated attribute of a class, as one line."""
    following = zip(source.body, [*source.body[1:], None], strict=True)
    return {
        node.target.id: " ".join(after.value.value.split())
        for node, after in following
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }


def _declared(node: ast.stmt, marker: str, module: str) -> Iterator[Component]:
    if isinstance(node, ast.FunctionDef):
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and _is_named(decorator.func, marker):
                settings = tuple(_arguments(node))
                facts = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in decorator.keywords}
                for name in map(ast.literal_eval, decorator.args):
                    yield Component(name, _summary(node), module, node.name, settings, facts)
    elif isinstance(node, ast.ClassDef) and any(_is_named(base, marker) for base in node.bases):
        yield Component(node.name, _summary(node), module, node.name, tuple(_fields(node)))


def _arguments(node: ast.FunctionDef) -> Iterator[Setting]:
    described = {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for parameter in docstring_parser.parse(ast.get_docstring(node) or "").params
    }
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        yield _setting(node, argument.arg, argument.annotation, default, described.get(argument.arg, ""))


def _fields(node: ast.ClassDef) -> Iterator[Setting]:
    docstrings = attribute_docstrings(node)
    for entry in node.body:
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name) and entry.value is not None:
            name = entry.target.id
            if not ast.unparse(entry.annotation).startswith("ClassVar"):
                yield _setting(node, name, entry.annotation, entry.value, docstrings.get(name, ""))


def _setting(
    component: ast.FunctionDef | ast.ClassDef,
    name: str,
    annotation: ast.expr | None,
    default: ast.expr | None,
    text: str,
) -> Setting:
    """Evaluate a declaration.

    Raises:
        TypeError: it has no type or default, or one that cannot be evaluated without importing the file.
    """
    if annotation is None or default is None:
        raise TypeError(f"setting {name} of {component.name} needs a type and a default")
    try:
        kind = eval(compile(ast.Expression(annotation), "<annotation>", "eval"), dict(vars(setting_types)))
        return Setting(name, kind, ast.literal_eval(default), text)
    except (ValueError, NameError, SyntaxError) as error:
        raise TypeError(
            f"setting {name} of {component.name} (line {component.lineno}): its default must be a literal, and its "
            f"type made of built-in types and names of cifar100.config.types ({error})"
        ) from error


def _is_named(node: ast.expr, name: str) -> bool:
    return (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)


def _summary(node: ast.FunctionDef | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


Decorator = Callable[[type], type]


def with_settings_of(path: str, marker: str, *, chosen_by: str | None = None, several: bool = False) -> Decorator:
    """Return a decorator that adds the settings of components to a class, below `@dataclass`.

    Args:
        path: see `components`.
        marker: see `components`.
        chosen_by: the field that names one of the components. Its type becomes the list of names. The settings
            default to `null`, which selects the default of the chosen component. None: all components are in use.
        several: whether that field is a list of names.
    """

    def add(section: type) -> type:
        annotations, help_texts = section.__annotations__, getattr(section, "declared_help", {})
        declared = components(path, marker)
        if chosen_by is not None:
            name: Any = setting_types.Literal[tuple(name for name in declared if not is_family(name))]
            for family in filter(is_family, declared):
                name = name | setting_types.Annotated[str, setting_types.Prefix(family)]
            annotations[chosen_by] = tuple[name, ...] if several else name
        for setting in (setting for component in declared.values() for setting in component.settings):
            annotation = setting.annotation if chosen_by is None else setting.annotation | None
            if annotations.setdefault(setting.name, annotation) != annotation:
                raise TypeError(
                    f"setting {setting.name} in {path} has another type than one of the same name there or in "
                    f"{section.__name__}; rename it"
                )
            setattr(section, setting.name, setting.default if chosen_by is None else None)
            if setting.help:  # only one of the components that share a setting need describe it
                help_texts[setting.name] = setting.help
        section.declared_help = help_texts  # type: ignore[attr-defined]
        return section

    return add
