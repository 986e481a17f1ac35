"""What several runs were combined to: an ensemble (mean of probabilities) or an average (mean of weights).

`members.json` in its folder names them. An average is a run folder like any other. An ensemble has no `config.yaml` and
no weights, only evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.files.schema import (
    boolean,
    fields,
    list_of,
    nothing_or,
    number,
    one_of,
    read_as,
    text,
    whole,
)
from cifar100.foreign_text import reason
from cifar100.runs.advice import checkpoint_choice
from cifar100.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Member:
    """The weights of one run that were combined with others."""

    name: str
    """The experiment."""

    path: str
    """Of the run folder when they were combined."""

    checkpoint: str
    """Name of the file."""

    epoch: int
    averaged: bool
    training_seconds: float | None
    """None if it is unknown."""

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return RunFolder(Path(self.path))

    @property
    def choice(self) -> str:
        """What chooses the checkpoint; see `checkpoint_choice`."""
        return checkpoint_choice(self.run, self.run.checkpoints / self.checkpoint)


@dataclass(frozen=True, kw_only=True)
class Combined:
    """What `members.json` holds."""

    kind: Literal["ensemble", "average"]
    members: tuple[Member, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings of the members of an ensemble, name -> value, for `compare`; an average has a `config.yaml`."""

    @property
    def label(self) -> str:
        """What distinguishes it from a single network: `ensemble of 3`."""
        return f"{self.kind} of {len(self.members)}"

    @property
    def names(self) -> str:
        """The members, in the order in which they were given."""
        return ", ".join(distinct_names(self.members))

    @property
    def arguments(self) -> str:
        """The members on a command line, so that the same weights are combined again."""
        if self.kind == "average":
            return " ".join(RunFolder(place).argument for place in self.places)
        last = " --checkpoint last" if any(member.choice == "last" for member in self.members) else ""
        return " ".join(member.run.argument for member in self.members) + last

    @property
    def places(self) -> list[Path]:
        """The run folder of each member, or its checkpoint if commands would choose another one by themselves."""
        return [
            member.run.checkpoints / member.checkpoint if member.choice else member.run.path for member in self.members
        ]

    @property
    def training_seconds(self) -> float | None:
        """Sum over the members; None if one is unknown."""
        seconds = [member.training_seconds for member in self.members]
        return None if None in seconds else sum(each for each in seconds if each is not None)


def distinct_names(members: Sequence[Member]) -> list[str]:
    """Return the name of each member, with its checkpoint if others have the same name."""
    names = [member.name for member in members]
    return [
        member.name if names.count(member.name) == 1 else f"{member.name} ({member.checkpoint})" for member in members
    ]


_MEMBER = fields(
    {
        "name": text,
        "path": text,
        "checkpoint": text,
        "epoch": whole(),
        "averaged": boolean,
        "training_seconds": nothing_or(number(0)),
    }
)

_COMBINED = fields(
    {"kind": one_of("ensemble", "average"), "members": list_of(_MEMBER)}, optional={"settings": fields({})}
)


def write_combined(combined: Combined, run: RunFolder) -> None:
    """Write `members.json`.

    Raises:
        UserError: the file cannot be written.
    """
    write_json(asdict(combined), run.members)


def read_combined(run: RunFolder) -> Combined | None:
    """Return what a folder was combined from; None for a run that was trained.

    Raises:
        UserError: the file is damaged.
    """
    try:
        content = read_as(run.members, _COMBINED)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{run.members} cannot be read ({reason(error)}); restore it.") from error
    members = tuple(Member(**{name: member[name] for name in Member.__annotations__}) for member in content["members"])
    return Combined(kind=content["kind"], members=members, settings=content.get("settings", {}))
