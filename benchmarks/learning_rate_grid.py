"""Compare the learning rate that `find-lr` suggests with a grid of rates a factor of two apart.

    python benchmarks/learning_rate_grid.py --recipe original --epochs 2 --output original.jsonl

It runs the range test, trains for `--epochs` at the suggested rate, then at the powers of two around it, until the best
of these has two worse ones on each side. Accuracies are of the validation images; test images are not used. Further
settings follow as in `train`.

Each training is a line of JSON in `--output`, appended at once. The same command resumes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accuracy_trials import configure
from measure import describe_versions, run_benchmark, show_table

# isort: split
from cifar100 import commands
from cifar100.cli.main import build_parser
from cifar100.config import Config
from cifar100.config import settings as known_settings
from cifar100.config.conversion import convert
from cifar100.data.folder.layout import DataFolder
from cifar100.search.trials.lines import append_line, read_lines, shared_facts
from cifar100.settings import given_settings

MIN_POWER, MAX_POWER = -17, 4
"""Ends of the grid, as powers of two."""

MARGIN = 2
"""Number of worse rates on each side of the best one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--recipe", default="original", help="default: original")
    parser.add_argument("--epochs", type=float, default=2, help="length of each training (default: 2)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: RECIPE_rates.jsonl")
    options, rest = parser.parse_known_args(arguments)
    texts = given_settings(build_parser("train", options.recipe).parse_args(rest))
    given = {name: convert(name, text, known_settings()[name].annotation) for name, text in texts.items()}
    given |= {"training.max_epochs": options.epochs, "training.max_minutes": None}
    config = configure(options.recipe, given)
    output = options.output or Path(f"{options.recipe}_rates.jsonl")
    facts = shared_facts(config, DataFolder(config.data.root).info(), split="validation", checkpoint="last")
    lines = read_lines(output, facts)
    found = next((line["found"] for line in reversed(lines) if "found" in line), None)
    if found is None:
        found = range_test(config)
        append_line({**facts, "found": found}, output)
    accuracies = {line["learning_rate"]: line["accuracy"] for line in lines if "accuracy" in line}
    while (rate := next_rate(found["learning_rate"], accuracies)) is not None:
        accuracies[rate] = accuracy_at(rate, config)
        append_line({**facts, "learning_rate": rate, "accuracy": accuracies[rate]}, output)
        print(f"{rate:.3g}: {accuracies[rate]:.2%}", file=sys.stderr)
    show(options.recipe, found, accuracies, output)
    return 0


def next_rate(suggested: float, accuracies: Mapping[float, float]) -> float | None:
    """Return the next rate to try; None if the best power of two has `MARGIN` worse ones on each side."""
    if suggested not in accuracies:
        return suggested
    nearest = round(math.log2(suggested))
    powers = {power: accuracies[2.0**power] for power in range(MIN_POWER, MAX_POWER + 1) if 2.0**power in accuracies}
    best = max(powers, key=lambda power: powers[power], default=nearest)
    wanted = [nearest, *(best + sign * distance for distance in range(1, MARGIN + 1) for sign in (-1, 1))]
    missing = [power for power in wanted if power not in powers and MIN_POWER <= power <= MAX_POWER]
    return 2.0 ** missing[0] if missing else None


def range_test(config: Config) -> dict[str, Any]:
    """Return the taken rate and all suggestions."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        result = commands.find_lr(config)
    return {
        "learning_rate": result.learning_rate,
        "taken": result.taken,
        "suggestions": result.suggestions,
        "learning_rates": result.learning_rates,
        "losses": result.losses,
    }


def accuracy_at(rate: float, config: Config) -> float:
    """Return the validation accuracy after a training at a learning rate; 0 if it diverges."""
    from cifar100.errors import Diverged

    config = replace(config, optimization=replace(config.optimization, learning_rate=rate))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        try:
            run = commands.train(config, experiment="grid")
        except Diverged:
            return 0.0
        metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
    return float(metrics["epochs"][-1]["val/accuracy"])


def show(recipe: str, found: dict[str, Any], accuracies: Mapping[float, float], output: Path) -> None:
    """Print the table."""
    suggested = found["learning_rate"]
    best = max(accuracy for rate, accuracy in accuracies.items() if rate != suggested)
    rows = [
        [
            f"{rate:.3g}",
            f"{accuracies[rate]:.2%}",
            f"{100 * (accuracies[rate] - best):+.2f}",
            "suggested" if rate == suggested else "",
        ]
        for rate in sorted(accuracies)
    ]
    suggestions = ", ".join(f"{name} {rate:.3g}" for name, rate in found["suggestions"].items())
    show_table(
        f"Learning rates of {recipe}",
        ["learning rate", "validation accuracy", "points from the best of the grid", ""],
        rows,
        notes=[f"Suggestions: {suggestions}; taken: {found['taken']}.", f"Lines: {output}"],
        versions=describe_versions(),
    )


if __name__ == "__main__":
    run_benchmark(main)
