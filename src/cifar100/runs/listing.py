"""The runs below `logs/`, and what has become of them. Reads small text files only, so that it answers at once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cifar100.runs.folder import LOGS, RunFolder
from cifar100.runs.status import UNKNOWN, read_status


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run."""

    name: str
    recipe: str
    data: str
    epochs: int
    """Finished epochs."""

    best: float | None
    """Highest validation accuracy, 0 to 1; None without validation images."""

    status: str
    """`running`, `finished`, `stopped`, `diverged`, `failed`, `killed` or `unknown`."""

    message: str
    """Why, where there is a reason to tell."""

    updated: datetime | None


def list_runs() -> list[RunSummary]:
    """Return the runs below `logs/`, the newest last."""
    runs = [RunFolder(path) for path in LOGS.glob("*") if path.is_dir()]
    found = [summarize(run) for run in runs if run.status.is_file() or run.config.is_file()]
    return sorted(found, key=lambda run: (run.updated or datetime.min.replace(tzinfo=UTC), run.name))


def summarize(run: RunFolder) -> RunSummary:
    """Read one run; what is damaged in it is left out."""
    metrics, info, status = _read(run.metrics), _read(run.dataset_info), read_status(run)
    epochs, best = metrics.get("epochs"), metrics.get("best")
    return RunSummary(
        name=run.name,
        recipe=_recipe(run),
        data=str(info.get("name", "")),
        epochs=len(epochs) if isinstance(epochs, list) else 0,
        best=best.get("val/accuracy") if isinstance(best, dict) else None,
        status=str(status.get("status", UNKNOWN)),
        message=str(status.get("message", "")),
        updated=_time(status.get("updated")),
    )


def show_runs(runs: list[RunSummary]) -> None:
    """Print a table."""
    if not runs:
        print(f"no runs below {LOGS.absolute()}; make one: cifar100 train --recipe quickstart")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (("run", "left"), ("recipe", "left"), ("data", "left"), ("epochs", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("best val", justify="right")
    table.add_column("status")
    table.add_column("age", justify="right")
    for run in runs:
        best = f"{run.best:.2%}" if isinstance(run.best, float) else ""
        table.add_row(run.name, run.recipe, run.data, str(run.epochs), best, run.status, format_age(run.updated))
    Console(highlight=False).print(table)


def format_age(moment: datetime | None, *, now: datetime | None = None) -> str:
    """Return how long ago it was, in the largest unit."""
    if moment is None:
        return ""
    age = (now or datetime.now(UTC)) - moment
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if age >= length:
            return f"{age // length} {unit}"
    return f"{max(0, int(age.total_seconds()))} s"


def _recipe(run: RunFolder) -> str:
    """Return the recipe's name out of `config.yaml`, without the time that reading all of it takes."""
    try:
        found = re.search(r"^recipe: (\S+)$", run.config.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        return ""
    return found.group(1)[:40] if found else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _time(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
