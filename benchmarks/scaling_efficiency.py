"""Measure the scaling efficiency: images/s of several processes with one thread each, against one such process.

    python benchmarks/scaling_efficiency.py

Every process has the same number of images in a step, so N processes should train N times as many images/s.
Each run is `cifar100 train --training.devices N` on the CPU, in 32-true: two epochs of `--steps` steps, of which the
second counts. The numbers of processes take turns; ratios are taken within a round. On a machine with fewer processors
than processes the efficiency says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from measure import data_settings, describe_versions, median_ratio, run_benchmark, show_table

# isort: split
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="baseline", help="default: baseline")
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", type=Path, help="default: the recipe's")
    parser.add_argument("--processes", type=int, default=2, help="default: 2")
    parser.add_argument("--batch-size", type=int, default=64, help="images per process (default: 64)")
    parser.add_argument("--steps", type=int, default=20, help="of an epoch (default: 20)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    options = parser.parse_args(arguments)
    settings = {
        **data_settings(options.recipe, options.root),
        "data.batch_size": options.batch_size,
        "training.max_epochs": 2,
        "training.limit_train_batches": options.steps,
        "training.limit_val_batches": 1,
        "training.accelerator": "cpu",
        "training.precision": "32-true",
        "training.loggers": "[]",
    }
    flat = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    speeds: dict[int, list[float]] = {1: [], options.processes: []}
    for number in range(options.repeats):
        for processes in speeds if number % 2 == 0 else reversed(speeds):
            speeds[processes].append(images_per_second([*flat, "--recipe", options.recipe], processes))
    rows = [
        [str(processes), f"{median(found):,.1f}", f"{median_ratio(found, speeds[1]) / processes:.0%}"]
        for processes, found in speeds.items()
    ]
    show_table(
        f"Scaling on the CPU: recipe {options.recipe}, {options.batch_size} images per process, 32-true",
        ["processes of one thread", "images/s", "efficiency"],
        rows,
        notes=[f"Epochs of {options.steps} steps, {options.repeats} rounds, medians."],
        versions=describe_versions(),
    )
    return 0


def images_per_second(settings: Sequence[str], processes: int) -> float:
    """Train in a temporary folder; return the speed of the second epoch, of all processes together."""
    command = [sys.executable, "-m", "cifar100", "train", *settings, "--training.devices", str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--experiment", "scaling"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UserError(f"the run of {processes} processes failed: {done.stderr.strip()}")
        metrics = RunFolder(Path(folder) / "logs" / "scaling").metrics
        return float(json.loads(metrics.read_text(encoding="utf-8"))["epochs"][-1]["images_per_second"])


if __name__ == "__main__":
    run_benchmark(main)
