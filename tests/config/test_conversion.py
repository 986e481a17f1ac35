"""Text of options and values from YAML become values of the settings' types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from cifar100.config import settings
from cifar100.config.conversion import convert, expectation
from cifar100.config.types import Range
from cifar100.errors import UserError
from cifar100.settings import load_config, recipe_names, to_dict


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("3", int, 3),
        ("1e-3", float, 0.001),
        (3, float, 3.0),
        ("true", bool, True),
        ("False", bool, False),
        ("yes", bool, True),
        ("off", bool, False),
        (2024, str, "2024"),
        ("none", int | None, None),
        ("none", tuple[Literal["csv", "other"], ...], ()),
        ("null", tuple[Literal["csv", "other"], ...], ()),
        (None, tuple[Literal["csv", "other"], ...], ()),
        ("null", tuple[int, ...] | None, None),
        ("~/data", Path, Path.home() / "data"),
        (True, bool, True),
        ("a b", Path, Path("a b")),
        ("null", int | None, None),
        (None, float | None, None),
        ("7", int | None, 7),
        ("auto", float | Literal["auto"], "auto"),
        ("0.5", float | Literal["auto"], 0.5),
        ("null", str | None, None),
        ("12", str | None, "12"),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ([1, 2.5], tuple[float, ...], (1.0, 2.5)),
        ("[]", tuple[int, ...], ()),
        ("csv", tuple[Literal["csv", "other"], ...], ("csv",)),
        ("[csv, other]", tuple[Literal["csv", "other"], ...], ("csv", "other")),
        ("[1, 2, 3]", tuple[int, int, int] | None, (1, 2, 3)),
        ("4", Annotated[Annotated[int, Range(1)], Range(0)], 4),
    ],
)
def test_values_are_converted(value: Any, annotation: Any, expected: Any) -> None:
    found = convert("section.key", value, annotation)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("3.5", int, "a whole number"),
        (3.5, int, "a whole number"),
        (True, int, "a whole number"),
        ("0x10", int, "a whole number"),
        ("much", float, "a number"),
        (True, float, "a number"),
        (10**400, float, "a number"),
        ("maybe", bool, "true or false"),
        (1, bool, "true or false"),
        (None, int, "a whole number"),
        (3.5, str, "text"),
        (True, str, "text"),
        ("red", Literal["a", "b"], "one of a, b"),
        (True, Literal[1, 2], "one of 1, 2"),
        ("[1, 2", tuple[int, ...], r"whole numbers in brackets, as in \[16, 24, 32\]"),
        ("1", tuple[int, ...], "whole numbers in brackets"),
        ("[1, 2]", tuple[int, int, int], "3 whole numbers in brackets"),
        ("[1, x]", tuple[int, ...], "whole numbers in brackets"),
        ("x", tuple[Literal["csv", "other"], ...], r"a list of csv, other, as in \[csv, other\]"),
        ("x", float | Literal["auto"] | None, "a number or auto or null"),
    ],
)
def test_a_value_of_another_type_gets_one_line(value: Any, annotation: Any, expected: str) -> None:
    with pytest.raises(UserError, match=rf"--section\.key is .*, but it must be {expected}") as caught:
        convert("section.key", value, annotation)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_every_setting_says_what_it_expects_and_keeps_its_values() -> None:
    for name, setting in settings().items():
        assert expectation(setting.annotation), name
        assert convert(name, setting.default, setting.annotation) == setting.default


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_value_of_a_recipe_reads_back_from_its_text(recipe: str) -> None:
    for section, values in to_dict(load_config(recipe)).items():
        for key, value in values.items() if isinstance(values, dict) else ():
            setting = settings()[f"{section}.{key}"]
            text = "null" if value is None else str(value)
            assert convert(setting.name, text, setting.annotation) == convert(setting.name, value, setting.annotation)


@pytest.mark.parametrize("name", ["timm/resnet18", "timm/resnet18.a1_in1k", "resnet18"])
def test_a_name_may_be_of_a_family(name: str) -> None:
    assert convert("model.name", name, settings()["model.name"].annotation) == name


@pytest.mark.parametrize("name", ["timm/", "timm", "other/resnet18", "resnet81", 18])
def test_a_name_of_no_family_is_refused(name: object) -> None:
    with pytest.raises(UserError, match=r"but it must be one of .*, wide_resnet28_10 or timm/NAME\.$"):
        convert("model.name", name, settings()["model.name"].annotation)


def test_texts_are_a_list() -> None:
    annotation = settings()["model.arguments"].annotation
    assert convert("model.arguments", "[drop_rate=0.1, global_pool=max]", annotation) == (
        "drop_rate=0.1",
        "global_pool=max",
    )
    assert convert("model.arguments", "drop_rate=0.1", annotation) == ("drop_rate=0.1",)
    with pytest.raises(UserError, match=r"must be texts in brackets, as in \[drop_rate=0.1, global_pool=max\] or null"):
        convert("model.arguments", 3, annotation)
