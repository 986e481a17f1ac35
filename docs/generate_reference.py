"""Write the reference of commands, settings and recipes from the code, as Markdown.

    uv run python docs/generate_reference.py

A test compares the files with the code, so they are never out of date. The reference of the Python API is made from the
docstrings when the site is built.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from cifar100.cli.main import COMMANDS, build_parser
from cifar100.config import COMPONENTS, SECTIONS, section_settings
from cifar100.config.declarations import Setting, components
from cifar100.config.types import Needs, Prefix, Range
from cifar100.settings import read_recipe, recipe_names

FOLDER = Path(__file__).parent / "reference"

GENERATED = "<!-- Written by docs/generate_reference.py from the code. Edit the code, not this file. -->"


def main() -> int:
    """Write all pages; returns the exit status."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"docs/reference/{name}", file=sys.stderr)
    return 0


def pages() -> dict[str, str]:
    """Return the text of each generated page by its file name."""
    return {"commands.md": commands_page(), "settings.md": settings_page(), "recipes.md": recipes_page()}


def commands_page() -> str:
    """Return the page of commands: usage, summary and options of each."""
    lines = [GENERATED, "", "# Commands", "", "`cifar100 COMMAND --help` prints the same in the terminal."]
    for name, command in COMMANDS.items():
        lines += ["", f"## {name}", "", *paragraphs(command.function), ""]
        lines += ["```text", *usage(name), "```", ""]
        rows = [option for option in build_parser(name)._actions if not is_setting(option) and option.dest != "help"]
        described = [(shown(option), escaped(help_of(option))) for option in rows if option.help != argparse.SUPPRESS]
        table = [f"| {option} | {text} |" for option, text in described]
        lines += ["| option | meaning |", "| --- | --- |", *table] if table else ["It has no options."]
        if command.has_settings:
            lines += ["", "Each [setting](settings.md) is an option as well, such as `--data.batch_size 256`."]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return the page of settings: type, default and meaning of each, by section and component."""
    lines = [GENERATED, "", "# Settings", ""]
    lines += [
        "A setting is given on the command line (`--data.batch_size 256`), in a file (`data: {batch_size: 256}`) or in",
        'Python (`load_config("baseline", overrides={"data.batch_size": 256})`). The defaults below are those without',
        "a recipe; [a recipe](recipes.md) changes some. `needs` names the setting without which this one has no",
        "effect.",
    ]
    for name, section in SECTIONS.items():
        lines += ["", f"## {name}", "", (section.__doc__ or "").splitlines()[0]]
        for setting in section_settings(name):
            lines += setting_lines(name, setting)
    return "\n".join(lines) + "\n"


def setting_lines(section: str, setting: Setting) -> Iterator[str]:
    """Yield the lines of one setting."""
    full = f"{section}.{setting.name}"
    kind, limits, needs = described_type(setting.annotation)
    yield from ("", f"### {full}", "", setting.help)
    facts = [f"type: {kind}", f"default: `{yaml_value(setting.default)}`"]
    declared = defaults_of_components(section, setting)
    if declared:
        facts[1] = "default: " + ", ".join(f"`{value}` ({', '.join(names)})" for value, names in declared.items())
    facts += [limits] if limits else []
    facts += [f"needs `{need}`".replace(" or --", "` or `--") for need in needs]
    yield ""
    yield from (f"- {fact}" for fact in facts)


def defaults_of_components(section: str, setting: Setting) -> dict[str, list[str]]:
    """Return the defaults that networks, losses or loggers declare for a setting, each with their names."""
    found: dict[str, list[str]] = {}
    for selector, place in COMPONENTS.items():
        if selector.startswith(f"{section}."):
            for name, component in components(*place).items():
                for declared in component.settings:
                    if declared.name == setting.name:
                        found.setdefault(yaml_value(declared.default), []).append(name)
    return found


def recipes_page() -> str:
    """Return the page of recipes: purpose, what was measured, and the settings of each."""
    lines = [
        GENERATED,
        "",
        "# Recipes",
        "",
        "`cifar100 train --recipe NAME` uses a recipe: a set of differences from the [defaults](settings.md).",
        "[Results](../results.md) lists what was measured, and how.",
    ]
    for name in recipe_names():
        recipe = read_recipe(name)
        lines += ["", f"## {name}", "", *(f"- {key}: {value}" for key, value in recipe.about.items()), ""]
        lines += ["| setting | value |", "| --- | --- |"]
        lines += [f"| `{setting}` | `{yaml_value(value)}` |" for setting, value in recipe.settings.items()]
    return "\n".join(lines) + "\n"


def described_type(annotation: Any) -> tuple[str, str, list[str]]:
    """Return a type in words, its limits and its prerequisites."""
    limits, needs = "", []
    while get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        limits = next((f"range: {item}" for item in metadata if isinstance(item, Range)), limits)
        needs += [str(item) for item in metadata if isinstance(item, Needs)]
    parts = [type_name(part) for part in (get_args(annotation) if is_union(annotation) else [annotation])]
    inner = [described_type(part) for part in get_args(annotation)] if is_union(annotation) else []
    limits = limits or next((found for _, found, _ in inner if found), "")
    return " or ".join(parts), limits, needs


def is_union(annotation: Any) -> bool:
    """Return whether an annotation is `A | B`."""
    return type(None) in get_args(annotation) or "Union" in str(get_origin(annotation))


def type_name(annotation: Any) -> str:
    """Return a type as a reader would write it: `integer`, `one of sgd, adamw, muon`, `list of numbers`."""
    if get_origin(annotation) is Annotated:
        families = [f"`{item.text}NAME`" for item in get_args(annotation) if isinstance(item, Prefix)]
        return families[0] if families else type_name(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        values = [f"`{value}`" for value in get_args(annotation)]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if get_origin(annotation) in (tuple, list):
        return f"list of {list_elements(get_args(annotation))}"
    names = {
        bool: "`true` or `false`",
        int: "integer",
        float: "number",
        str: "text",
        Path: "path",
        type(None): "`null`",
    }
    return names.get(annotation, str(annotation))


def list_elements(arguments: tuple[Any, ...]) -> str:
    """Return what a list holds: `3 numbers`, `integers`. arguments: those of its type."""
    if get_origin(arguments[0]) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(arguments[0]))
    plural = {int: "integers", float: "numbers", str: "texts"}[arguments[0]]
    return plural if arguments[-1] is Ellipsis else f"{len(arguments)} {plural}"


def paragraphs(function: Any) -> list[str]:
    """Return the summary and the explanation of a docstring, without the sections about arguments."""
    text = inspect.getdoc(function) or ""
    for heading in ("\nArgs:", "\nReturns:", "\nRaises:"):
        text = text.partition(heading)[0]
    return [text.strip()]


def usage(name: str) -> list[str]:
    """Return the forms of a command as its help shows them in the first lines."""
    text = " ".join(build_parser(name).format_usage().replace("[-h]", "").split()).removeprefix("usage: ")
    return [f"cifar100 {form.strip()}" for form in text.split("cifar100 ")[1:]]


def shown(option: argparse.Action) -> str:
    """Return an option or argument in code marks, with the name of its value."""
    value = str(option.metavar or (option.dest.upper() if option.option_strings else option.dest))
    value = value.replace("|", " or ")  # in a table, GitHub ends the cell at a bar, in code as well
    takes_value = option.nargs != 0
    names = [f"`{text} {value}`" if takes_value else f"`{text}`" for text in option.option_strings]
    return ", ".join(names) or f"`{value}`"


def help_of(option: argparse.Action) -> str:
    """Return the help text of an option, with its default filled in."""
    return (
        (option.help or "") % {**vars(option), "prog": "cifar100"} if "%" in (option.help or "") else option.help or ""
    )


def is_setting(option: argparse.Action) -> bool:
    """Return whether an option is a setting, which has its own page."""
    return "." in option.dest


def yaml_value(value: Any) -> str:
    """Return a value as YAML and the command line write it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(yaml_value(element) for element in value)}]"
    return str(value)


def escaped(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
