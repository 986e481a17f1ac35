"""Measure what saving costs: steps/s of `train` with the default interval and without saving.

    python benchmarks/saving_cost.py --recipe laptop

Both sides train the same run for `--minutes` minutes, in turns. This is longer than the interval, so one side saves at
least once mid-run. Both save at the end of a run. Ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from measure import data_settings, describe_versions, median_ratio, run_benchmark, show_table, this_device

# isort: split
from cifar100.config import Config
from cifar100.runs.checkpoints import read_checkpoint
from cifar100.runs.folder import LAST
from cifar100.settings import load_config
from cifar100.training.train import start_run

NEVER = 525_600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="laptop", help="default: laptop")
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", type=Path, help="default: the recipe's")
    parser.add_argument("--minutes", type=float, default=2.5, help="length of a run (default: 2.5)")
    parser.add_argument("--repeats", type=int, default=2, help="rounds (default: 2)")
    options = parser.parse_args(arguments)
    given: dict[str, Any] = {**data_settings(options.recipe, options.root), "training.max_minutes": options.minutes}
    saving = load_config(options.recipe, overrides=given)
    never = load_config(options.recipe, overrides={**given, "training.save_every_minutes": NEVER})
    rates: dict[str, list[float]] = {"saving": [], "never": []}
    for _ in range(options.repeats):
        rates["saving"].append(steps_in(saving) / options.minutes / 60)
        rates["never"].append(steps_in(never) / options.minutes / 60)
    ratio = median_ratio(rates["never"], rates["saving"])
    interval = saving.training.save_every_minutes
    show_table(
        f"Saving: recipe {options.recipe}, {this_device().type}",
        ["state is saved", "steps/s", "time ratio"],
        [
            ["at the end only", f"{median(rates['never']):.3f}", "1"],
            [f"every {interval:g} minutes and at the end", f"{median(rates['saving']):.3f}", f"{ratio:.4f}"],
        ],
        notes=[f"Runs of {options.minutes:g} minutes, {options.repeats} rounds, medians."],
        versions=describe_versions(),
    )
    return 0


def steps_in(config: Config) -> int:
    """Train in a temporary folder; returns the optimizer steps."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                run = start_run(config)
            return int(read_checkpoint(run.checkpoints / LAST)["global_step"])
        finally:
            os.chdir(here)


if __name__ == "__main__":
    run_benchmark(main)
