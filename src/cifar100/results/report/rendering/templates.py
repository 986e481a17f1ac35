"""The templates of the pages, and how they write numbers and names."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from cifar100 import __version__, metrics
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import printable


def template(name: str, *, package: str | None = None) -> Template:
    """Return a template. Every text that it inserts is escaped, for HTML and against control characters.

    package: holds the template and its script; what it lacks, such as the style, is that of the reports.
    """
    packages = [package] if package else []
    loader = ChoiceLoader([PackageLoader(each, "template") for each in (*packages, __package__)])
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_control_characters,
    )
    script, _, _ = loader.get_source(environment, "script.js")
    style, _, _ = loader.get_source(environment, "style.css")
    environment.globals |= {
        "version": __version__,
        "script": Markup(script),  # a file of this package, as is the next one
        "style": Markup(style),
        "script_sha256": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    environment.filters |= FILTERS
    return environment.get_template(name)


def percent(value: float, digits: int = 1) -> Markup:
    """Return a fraction as `12.3 %`, which is not broken into two lines."""
    return Markup("{}&nbsp;%").format(f"{100 * value:.{digits}f}")


def metric(value: float, name: str) -> Markup:
    """Return a metric's value: fractions of images as percentages, other metrics as numbers."""
    number, sign, _ = metrics.text(name, value).partition("%")
    return Markup("{}&nbsp;%" if sign else "{}").format(number)


def magnitude(value: float) -> str:
    """Return a large number with three digits: `2.52 M`."""
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= unit:
            return f"{value / unit:.3g} {letter}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `3 min 45 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def breakable(name: str) -> Markup:
    """Return a name that may be broken after its underscores, and after the section of a setting."""
    parts = re.split(r"(?<=[a-z]\.)(?=[a-z])", printable(name))
    return Markup("<wbr>").join(escape(part).replace("_", Markup("_<wbr>")) for part in parts)


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "percent": percent,
        "metric": metric,
        "magnitude": magnitude,
        "duration": duration,
        "breakable": breakable,
        "quoted": as_argument,
        "count": lambda value: f"{value:,}",
        "label": metrics.label,
        "capitalised": lambda text: text[:1].upper() + text[1:],
    }
)


def _without_control_characters(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
