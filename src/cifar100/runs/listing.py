"""List the runs in `logs/` with their status. Reads only small text files, so that it is fast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cifar100.errors import UserError
from cifar100.files.regular import MAX_JSON_BYTES, read_text
from cifar100.files.schema import fields, read_as
from cifar100.runs.combined import read_combined
from cifar100.runs.folder import RunFolder, run_folders
from cifar100.runs.status import UNKNOWN, read_status


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The status of one run."""

    name: str
    recipe: str
    combined: str = ""
    """`ensemble of 3` or `average of 3`; empty for a run that was trained."""

    data: str
    epochs: int
    """Number of finished epochs."""

    best: float | None
    """Highest validation accuracy, 0 to 1; None without validation images."""

    status: str
    """`running`, `finished`, `stopped`, `diverged`, `failed`, `killed` or `unknown`."""

    message: str
    """The reason for the status; may be empty."""

    updated: datetime | None


def list_runs() -> list[RunSummary]:
    """Return the runs in `logs/`, the most recently updated last, without those in subfolders."""
    found = [summarize(run) for run in run_folders() if run.status.is_file() or run.config.is_file()]
    return sorted(found, key=lambda run: (run.updated or datetime.min.replace(tzinfo=UTC), run.name))


def summarize(run: RunFolder) -> RunSummary:
    """Read one run. Missing and damaged files leave their fields empty."""
    metrics, info, status = _read(run.metrics), _read(run.dataset_info), read_status(run)
    epochs, best = metrics.get("epochs"), metrics.get("best")
    accuracy = best.get("val/accuracy") if isinstance(best, dict) else _accuracy_of_ensemble(run)
    return RunSummary(
        name=run.name,
        recipe=_recipe(run),
        combined=_combined(run),
        data=str(info.get("name", "")),
        epochs=len(epochs) if isinstance(epochs, list) else 0,
        best=accuracy if isinstance(accuracy, (int, float)) else None,
        status=str(status.get("status", UNKNOWN)),
        message=str(status.get("message", "")),
        updated=_time(status.get("updated")),
    )


def _recipe(run: RunFolder) -> str:
    """Return the recipe's name from `config.yaml`. Parsing the whole file would be slow."""
    try:
        found = re.search(r"^recipe: (\S+)$", read_text(run.config, limit=MAX_JSON_BYTES), re.MULTILINE)
    except (OSError, ValueError):
        return ""
    return found.group(1)[:40] if found else ""


def _combined(run: RunFolder) -> str:
    try:
        combined = read_combined(run)
    except UserError:
        return ""
    return "" if combined is None else combined.label


def _accuracy_of_ensemble(run: RunFolder) -> object:
    """Return the validation accuracy that was measured of an ensemble; it has no epochs."""
    if run.config.is_file():
        return None
    found: object = _read(run.evaluation("validation"))
    for name in ("metrics", "accuracy", "value"):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_as(path, fields({}))
    except (OSError, ValueError):
        return {}
    return content


def _time(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
