"""Plot the test accuracy of recipes over the minutes of their training.

    python benchmarks/accuracy_over_time.py logs/laptop_0 logs/laptop_1 logs/original

Adds a row for each group of runs of one recipe to `docs/accuracy_over_time.csv` and draws
`docs/accuracy_over_time.png` from all rows. Without runs it only draws. A run is finished and evaluated on the test
images; its files give the time, the accuracy and the interval. Rows of another machine stay: the colour is the machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev

from matplotlib.axes import Axes

from cifar100.errors import UserError
from cifar100.plots.style import BLUE, GREEN, PURPLE, RED, new_figure, style_axes
from cifar100.process.processors import processor_name
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_complete_config

DOCS = Path(__file__).parents[1] / "docs"
TABLE, PLOT = DOCS / "accuracy_over_time.csv", DOCS / "accuracy_over_time.png"

COLORS = (BLUE, RED, GREEN, PURPLE)


@dataclass(frozen=True)
class Row:
    """The runs of one recipe on one machine."""

    recipe: str
    minutes: float
    """Mean time of `train`, from its start to its end."""
    accuracy: float
    """Mean test accuracy, 0 to 1."""
    deviation: float | None
    """Standard deviation over the seeds; None for one run."""
    num_runs: int
    machine: str
    date: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Add the given runs and draw; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of finished, evaluated runs")
    parser.add_argument("--machine", default=processor_name(), help="name of the machine (default: its processor)")
    options = parser.parse_args(arguments)
    try:
        rows = updated(read_rows(TABLE), rows_of_runs(options.runs, options.machine))
    except UserError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    write_rows(rows, TABLE)
    draw(rows, PLOT)
    return 0


def rows_of_runs(runs: Iterable[Path], machine: str) -> list[Row]:
    """Return a row for each recipe among the runs.

    Raises:
        UserError: a run is not finished, not evaluated on the test images, or was resumed.
    """
    facts = sorted((read_run(RunFolder(run)) for run in runs), key=lambda fact: fact[0])
    rows = []
    for recipe, group in groupby(facts, key=lambda fact: fact[0]):
        _, minutes, accuracies = zip(*group, strict=True)
        deviation = stdev(accuracies) if len(accuracies) > 1 else None
        today = datetime.now(UTC).date().isoformat()
        rows.append(Row(recipe, mean(minutes), mean(accuracies), deviation, len(accuracies), machine, today))
    return rows


def read_run(run: RunFolder) -> tuple[str, float, float]:
    """Return recipe, minutes and test accuracy of a run."""
    status = json.loads((run.path / "status.json").read_text(encoding="utf-8"))
    evaluation = run.path / "evaluation_test.json"
    if status["status"] != "finished" or not evaluation.exists():
        raise UserError(f"{run.path} is {status['status']}, or not evaluated on the test images; finish it first.")
    log = run.training_log.read_text(encoding="utf-8") if run.training_log.exists() else ""
    if "  resumed  after step " in log:
        raise UserError(
            f"{run.path} was interrupted and resumed, so the time of its training is unknown; leave it out."
        )
    started, ended = (datetime.fromisoformat(status[name]) for name in ("started", "updated"))
    accuracy = json.loads(evaluation.read_text(encoding="utf-8"))["metrics"]["accuracy"]["value"]
    recipe = load_complete_config(run.config).recipe or run.path.name
    return recipe, (ended - started).total_seconds() / 60, accuracy


def updated(rows: list[Row], new: list[Row]) -> list[Row]:
    """Return the rows with new ones instead of those of the same recipe and machine, by time."""
    replaced = {(row.recipe, row.machine) for row in new}
    kept = [row for row in rows if (row.recipe, row.machine) not in replaced]
    return sorted([*kept, *new], key=lambda row: (row.machine, row.minutes))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of the table; none if there is no table yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(
                recipe=row["recipe"],
                minutes=float(row["minutes"]),
                accuracy=float(row["accuracy"]),
                deviation=float(row["deviation"]) if row["deviation"] else None,
                num_runs=int(row["num_runs"]),
                machine=row["machine"],
                date=row["date"],
            )
            for row in csv.DictReader(file)
        ]


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write the table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            deviation = "" if row.deviation is None else f"{row.deviation:.4f}"
            rounded = {"minutes": f"{row.minutes:.1f}", "accuracy": f"{row.accuracy:.4f}", "deviation": deviation}
            writer.writerow(asdict(row) | rounded)


LINE_POINTS = 12
"""Height of a line of labels."""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the rows: minutes on a logarithmic axis, accuracy in percent, one colour for each machine."""
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    colors = dict(zip(dict.fromkeys(row.machine for row in rows), COLORS, strict=False))
    for machine, color in colors.items():
        own = [row for row in rows if row.machine == machine]
        axes.errorbar(
            [row.minutes for row in own],
            [100 * row.accuracy for row in own],
            yerr=[100 * (row.deviation or 0) for row in own],
            fmt="o",
            color=color,
            capsize=3,
            label=machine,
        )
    axes.set(xscale="log", xlabel="minutes of training, two cores of a CPU", ylabel="test accuracy in percent")
    axes.set_title("Test accuracy over time, without a GPU", loc="left")
    axes.set_xticks([5, 10, 20, 50, 100, 200], labels=["5", "10", "20", "50", "100", "200"])
    axes.minorticks_off()
    axes.set_xlim(min(row.minutes for row in rows) / 2, max(row.minutes for row in rows) * 2.5)
    axes.margins(y=0.15)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    style_axes(axes)
    _label(axes, rows, colors)
    figure.savefig(path)


def _label(axes: Axes, rows: Sequence[Row], colors: Mapping[str, str]) -> None:
    """Write the name of each row beside its point, lower where the label of a higher point needs the place."""
    points_per_pixel = 72 / axes.figure.dpi
    placed: list[tuple[Row, float]] = []  # with the height of its label, in points
    for row in sorted(rows, key=lambda row: -row.accuracy):
        height = axes.transData.transform((row.minutes, 100 * row.accuracy))[1] * points_per_pixel
        above = [other for placed_row, other in placed if 2 / 3 < row.minutes / placed_row.minutes < 3 / 2]
        place = min([height, *(other - LINE_POINTS for other in above)])
        placed.append((row, place))
        seeds = f", {row.num_runs} seeds" if row.num_runs > 1 else ""
        axes.annotate(
            f"{row.recipe} {row.accuracy:.1%}{seeds}",
            (row.minutes, 100 * row.accuracy),
            xytext=(7, -3 + place - height),
            textcoords="offset points",
            fontsize=9,
            color=colors[row.machine],
        )


if __name__ == "__main__":
    sys.exit(main())
