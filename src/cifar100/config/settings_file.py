"""Read settings from a YAML file, or from nested dicts: setting name -> value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cifar100.config.checks import check_range
from cifar100.config.config import SECTIONS, settings
from cifar100.config.conversion import convert
from cifar100.config.shown_values import shown
from cifar100.config.suggestions import did_you_mean
from cifar100.config.yaml_text import parse_yaml
from cifar100.errors import UserError
from cifar100.files.regular import read_text

MAX_FILE_BYTES = 50_000
"""Maximum size of a configuration file; a complete one has 4,000."""


def read_settings(file: Path) -> dict[str, Any]:
    """Read a YAML file as setting name -> value, each in the type of its setting and in its range.

    No tags, imports or variables are resolved.

    Raises:
        UserError: the file cannot be read, is not YAML, or holds an unknown setting or a wrong value. Names the file.
    """
    try:
        content = parse_yaml(read_text(file, limit=MAX_FILE_BYTES))
    except OSError as error:
        raise UserError(f"configuration file {file} cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"configuration file {file} is not UTF-8 text; save it as UTF-8.") from error
    except ValueError as error:
        raise UserError(f"configuration file {file} is not valid YAML ({error}); correct it.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"configuration file {file} holds {shown(content)}, expected sections such as 'data:'.")
    content.pop("about", None)
    given = flatten(content, f" in {file}")
    with naming(file):
        return {name: _checked(name, value) for name, value in given.items()}


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Begin the message of every `UserError` of the block with the name of a file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def flatten(content: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """`{"data": {"root": 1}}` becomes `{"data.root": 1}`; names already dotted are left as they are.

    Args:
        content: sections and settings.
        where: end of a message, such as ` in mine.yaml`.

    Raises:
        UserError: a section or a setting is unknown, or given twice.
    """
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if key in SECTIONS:
            if value is None:
                continue  # a section whose settings are all commented out
            if not isinstance(value, Mapping):
                raise UserError(
                    f"section {key!r}{where} holds {shown(value)}, expected settings"
                    f"{did_you_mean(str(key), setting_names())}"
                )
            inside = {f"{key}.{name}": inner for name, inner in value.items()}
        elif isinstance(value, Mapping):
            raise UserError(f"unknown section {shown(key)!r}{where}{did_you_mean(str(key), tuple(SECTIONS))}")
        else:
            inside = {str(key): value}
        for name in inside.keys() & flat.keys():
            raise UserError(f"{name} is given twice{where}; remove one.")
        flat |= inside
    for name in flat:
        if name not in setting_names():
            raise UserError(f"unknown setting {shown(name)!r}{where}{did_you_mean(name, setting_names())}")
    return flat


def setting_names() -> tuple[str, ...]:
    """Return the name of every setting, `recipe` and `section.key`."""
    return ("recipe", *settings())


def _checked(name: str, value: Any) -> Any:
    """Return the value in the type of its setting."""
    if name == "recipe":
        return value
    annotation = settings()[name].annotation
    converted = convert(name, value, annotation)
    check_range(name, converted, annotation)
    return converted
