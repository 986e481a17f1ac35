"""The parts of an evaluation that are measured on request, shown generically: any figure by its name.

A part is a JSON object. Whatever in it has the form of an `Estimate` becomes a row; a list of them, such as the
severities of a corruption, becomes one row with several values; texts, lists of texts and whole numbers become notes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cifar100.files.schema import Schema, fields, list_of, number, whole

TITLES = {
    "duplicates": "Without near-duplicates of training images",
    "label_errors": "With corrected labels",
    "corruptions": "Corrupted images",
}
"""Key of a part in the entry `robustness` of `evaluation_<split>.json` -> title."""

MAX_DEPTH = 6


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure of a part."""

    name: str
    value: float
    interval: tuple[float, float]
    num_images: int
    severities: tuple[float, ...] = ()
    """The values behind it, if there are several."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part that was measured."""

    title: str
    rows: list[Row]
    notes: dict[str, str]

    @property
    def has_severities(self) -> bool:
        """Whether a row has several values behind it."""
        return any(row.severities for row in self.rows)


def measured_parts(content: dict[str, Any]) -> list[Part]:
    """Return the parts in the content of an evaluation."""
    found = content.get("robustness")
    if not isinstance(found, dict):
        return []
    parts = [_part(title, found[key]) for key, title in TITLES.items() if isinstance(found.get(key), dict)]
    return [part for part in parts if part.rows]


def _part(title: str, content: dict[str, Any]) -> Part:
    notes = {_spaced(name): _note(value) for name, value in content.items()}
    return Part(
        title=title,
        rows=list(_rows("", content, 0)),
        notes={name: note for name, note in notes.items() if note},
    )


def _note(value: Any) -> str:
    """Return what is shown of a value that is no figure; empty for nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(map(_spaced, value))
    return ""


def _rows(name: str, content: Any, depth: int) -> Iterator[Row]:
    if depth > MAX_DEPTH or not isinstance(content, dict):
        return
    if _fits(content, _ESTIMATE):
        yield Row(name=name, **_estimate(content))
        return
    if _fits(content, _WITH_SEVERITIES):
        severities = tuple(float(estimate["value"]) for estimate in content["by_severity"])
        yield Row(name=name, severities=severities, **_estimate(content["mean"]))
        return
    for key, inner in content.items():
        longer = name if key.startswith("by_") else f"{name}: {_spaced(key)}" if name else _spaced(key)
        yield from _rows(longer, inner, depth + 1)


_ESTIMATE = fields({"value": number(), "interval": list_of(number(), length=2), "num_images": whole(1)})
_WITH_SEVERITIES = fields({"mean": _ESTIMATE, "by_severity": list_of(_ESTIMATE)})


def _estimate(content: dict[str, Any]) -> dict[str, Any]:
    low, high = content["interval"]
    return {"value": content["value"], "interval": (low, high), "num_images": content["num_images"]}


def _fits(content: Any, schema: Schema) -> bool:
    try:
        schema(content, "it")
    except ValueError:
        return False
    return True


def _spaced(name: str) -> str:
    return name.replace("_", " ")
