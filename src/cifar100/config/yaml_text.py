"""Read YAML as plain data: the subset that a person writes by hand.

PyYAML follows YAML 1.1, in which `12:30:45` is 45045, `no` is false, `1e-3` is text, and a few aliases multiply to
gigabytes. Here scalars are those of YAML 1.2's core schema. Tags, anchors and aliases are refused, as are duplicate
keys and more values than any configuration has. All of this is checked while the text is parsed, before anything is
built.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

MAX_NODES = 5_000
"""Maximum number of values, lists and sections; a complete configuration has about 150."""

MAX_DEPTH = 20
"""Maximum nesting of lists and sections; a configuration needs 3."""


def parse_yaml(text: str) -> Any:
    """Return dicts, lists, str, int, float, bool and None. Words such as `yes` and `on` stay text.

    Raises:
        ValueError: the text is no such YAML. The message names the line.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = "a tab; indent with spaces" if "'\\t'" in str(error.problem) else error.problem
        raise ValueError(f"{line}{problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


class _PlainLoader(yaml.SafeLoader):
    """A SafeLoader with the limits of this module."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a value and all that it contains, if it stays within the limits."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _problem("anchors and aliases (& and *) are not supported; repeat the value", event)
        if event.tag is not None:
            raise _problem("tags (!) are not supported; use plain values", event)
        if self._nodes > MAX_NODES:
            raise _problem(f"more than {MAX_NODES:,} values", event)
        if self._depth == MAX_DEPTH:
            raise _problem(f"more than {MAX_DEPTH} levels", event)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a dict. A key that is given twice is an error."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a name must be text", key)
            if key.value in lines:
                raise _problem(f"{key.value[:80]} is given twice, first in line {lines[key.value]}", key)
            lines[key.value] = line
        return super().construct_mapping(node, deep=deep)


def _problem(text: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=place.start_mark)


_PlainLoader.yaml_implicit_resolvers = {}  # those of YAML 1.1
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    # Longer numbers stay text, which no setting accepts: Python refuses to convert them.
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,300})", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]{1,300}|[0-9]{1,300}\.[0-9]{0,300})(?:[eE][-+]?[0-9]{1,9})?"
        r"|[-+]?[0-9]{1,300}[eE][-+]?[0-9]{1,9}"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)
