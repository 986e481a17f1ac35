"""Convert the text of an option, or a value from YAML, to the type of a setting."""

from __future__ import annotations

import numbers
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from cifar100.config.shown_values import shown
from cifar100.config.types import Prefix
from cifar100.config.yaml_text import parse_yaml
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path

WORDS: dict[Any, dict[str, Any]] = {
    bool: {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False},
    type(None): {"null": None, "none": None},
}
"""Text that stands for a value, in any case."""


def convert(name: str, value: Any, annotation: Any) -> Any:
    """Return a value in the type of its setting.

    Args:
        name: of the setting, for the message.
        value: text from the command line, or a value from YAML or Python.
        annotation: int, float, bool, str, Path, a Literal, a tuple, or a union of these; may be Annotated.

    Raises:
        UserError: the value is of another type; the message says which one is expected.
    """
    try:
        return _convert(value, annotation)
    except UserError as error:  # about a path
        raise UserError(f"--{name}: {error}") from error
    except ValueError:
        raise UserError(f"--{name} is {shown(value)}, but it must be {expectation(annotation)}.") from None


def expectation(annotation: Any) -> str:
    """Return what a setting of this type must be, as a phrase."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        families = [f"{item.text}NAME" for item in annotation.__metadata__ if isinstance(item, Prefix)]
        return families[0] if families else expectation(annotation.__origin__)
    if origin in (Union, types.UnionType):
        return " or ".join(expectation(argument) for argument in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if origin is tuple:
        inner = {
            int: ("whole numbers", "[16, 24, 32]"),
            float: ("numbers", "[0.2, 0.5, 0.9]"),
            str: ("texts", "[drop_rate=0.1, global_pool=max]"),
        }
        if get_origin(arguments[0]) is Literal:
            names = get_args(arguments[0])
            return f"a list of {', '.join(names)}, as in [{', '.join(names[:2])}]"
        plural, example = inner[arguments[0]]
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"{count}{plural} in brackets, as in {example}"
    simple = {int: "a whole number", float: "a number", bool: "true or false", type(None): "null", Path: "a path"}
    return simple.get(annotation, "text")


def _convert(value: Any, annotation: Any) -> Any:
    """Convert, or raise a ValueError."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        if not all(item.fits(value) for item in annotation.__metadata__ if isinstance(item, Prefix)):
            raise ValueError
        return _convert(value, annotation.__origin__)
    if origin in (Union, types.UnionType):
        return _convert_to_one_of(value, arguments)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise ValueError
        return value
    if origin is tuple:
        return _convert_tuple(value, arguments)
    if annotation in (str, Path):
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # a run or a folder that is named by a number
        if not isinstance(value, (str, Path)) or value == "":
            raise ValueError
        return user_path(value) if annotation is Path else str(value)
    return _convert_scalar(value, annotation)


def _convert_to_one_of(value: Any, annotations: tuple[Any, ...]) -> Any:
    for annotation in sorted(annotations, key=lambda kind: kind in (str, Path)):  # any value fits text, so try it last
        try:
            return _convert(value, annotation)
        except ValueError:
            continue
    raise ValueError


def _convert_tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = parse_yaml(value)
    names = get_origin(arguments[0]) is Literal
    if names and (value is None or value == "none"):
        value = ()
    if isinstance(value, str) and arguments[-1] is Ellipsis:
        value = [value]  # a single name needs no brackets
    if not isinstance(value, (list, tuple)):
        raise ValueError
    kinds = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
    if len(kinds) != len(value):
        raise ValueError
    return tuple(_convert(element, kind) for element, kind in zip(value, kinds, strict=True))


def _convert_scalar(value: Any, kind: type) -> Any:
    if kind in WORDS:
        if isinstance(value, str) and value.lower() in WORDS[kind]:
            return WORDS[kind][value.lower()]
        if not isinstance(value, kind):
            raise ValueError
        return value
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):  # numpy's numbers included
        raise ValueError
    if kind is int and not isinstance(value, (str, numbers.Integral)):
        raise ValueError
    try:
        return kind(value)  # int and float parse text as Python does: 1e-3, but not 0x10
    except OverflowError:
        raise ValueError from None
