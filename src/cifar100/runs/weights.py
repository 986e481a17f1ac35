"""What tells the weights of a checkpoint from others, as the files of a run record it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of one checkpoint of a run."""

    checkpoint: str
    """Name of the file."""

    epoch: int
    """In which they were trained, from 1; 0 if that is unknown."""

    averaged: bool
    """Whether they are the moving average of the trained ones."""

    step: int | None
    """Number of optimizer steps behind them: a run that was stopped mid-epoch later saves others of the same epoch.
    None if it is unknown, as for an average of several runs."""

    @classmethod
    def of_checkpoint(cls, path: Path, content: Mapping[str, Any]) -> Weights:
        """Return what a checkpoint says. content: it, with or without its tensors."""
        return cls(
            checkpoint=path.name,
            epoch=int(content.get("epoch", -1)) + 1,
            averaged=bool(content.get("averaged")),
            step=content.get("global_step"),
        )

    def are_those_of(self, recorded: Mapping[str, Any]) -> bool:
        """Return whether a result was computed with these weights.

        recorded: `checkpoint`, a name or a path; `epoch`, `averaged`; `step`, which earlier versions did not record.
        """
        name = recorded["checkpoint"].replace("\\", "/").rpartition("/")[2]
        found = name, recorded["epoch"], bool(recorded.get("averaged"))
        return found == (self.checkpoint, self.epoch, self.averaged) and recorded.get("step") in (None, self.step)
