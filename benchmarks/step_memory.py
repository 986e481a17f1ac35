"""Compare the memory of a training step that `--data.batch_size auto` expects with what a run then takes.

    python benchmarks/step_memory.py --data.root dataset

Each row is a separate process: it measures steps of small batches as `auto` does, then trains two steps of the batch
in the table, validates, saves and ends. `expected` is the line through the small steps, `taken` the peak of the process
beyond what it had before the small steps. Needs Linux, and the CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from measure import data_settings, describe_versions, run_benchmark, show_table

# isort: split
import torch

from cifar100.config import Config
from cifar100.errors import UserError
from cifar100.process.memory import peak_memory, reset_peak, resident_memory, return_freed_memory
from cifar100.settings import load_config
from cifar100.training.cost.step_memory import USABLE, measure_step_memory
from cifar100.training.cost.trial import Subject
from cifar100.training.preflight import session

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A network of a recipe, and the images of a step."""

    recipe: str
    images: int
    network: str | None = None


CASES = {
    "fast_net": Case("laptop", 512),
    "resnet18": Case("baseline", 256),
    "resnet18, SAM": Case("strong", 128),
    "densenet_bc_100_12": Case("baseline", 128, "densenet_bc_100_12"),
    "cct_7_3x1": Case("baseline", 128, "cct_7_3x1"),
    "mobilenet_v2": Case("baseline", 512, "mobilenet_v2"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    options = parse(arguments)
    if options.one is not None:
        print("MEASURED", json.dumps(measured(config_of(CASES[options.one], options.root), options.images)))
        return 0
    if sys.platform != "linux":
        raise UserError("this benchmark reads the memory of a process from /proc, which needs Linux.")
    rows, ratios = [], []
    for name in options.networks or CASES:
        images = options.images or CASES[name].images
        expected, taken = in_a_process(name, images, options.root)
        ratios.append(taken / expected)
        rows.append([name, str(images), f"{expected / 1e9:.2f}", f"{taken / 1e9:.2f}", f"{taken / expected:.2f}"])
    show_table(
        "Memory of a run in GB, beyond that before the first trial",
        ["network", "images a step", "expected", "taken", "taken / expected"],
        rows,
        notes=[
            f"`auto` fills {USABLE['cpu']:.0%} of the free memory: a run fits up to a ratio of {1 / USABLE['cpu']:.2f}."
        ],
        versions=describe_versions(),
    )
    return 0 if max(ratios) <= 1 / USABLE["cpu"] else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", type=Path, help="default: the recipe's")
    parser.add_argument("--networks", nargs="+", choices=CASES, help="default: all")
    parser.add_argument("--images", type=int, help="images of a step; default: by network")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def config_of(case: Case, root: Path | None) -> Config:
    """Return the settings of a run of two steps."""
    given: dict[str, Any] = {
        "data.batch_size": "auto",
        "training.devices": 1,
        "training.accelerator": "cpu",
        "training.max_minutes": None,
        "training.max_epochs": 1,
        "training.limit_train_batches": 2,
        "training.limit_val_batches": 2,
    }
    given |= data_settings(case.recipe, root)
    given |= {} if case.network is None else {"model.name": case.network}
    return load_config(case.recipe, overrides=given)


def in_a_process(name: str, images: int, root: Path | None) -> tuple[float, float]:
    """Return the expected and the taken bytes, measured in a new process.

    Raises:
        RuntimeError: it failed.
    """
    root = (root or load_config(CASES[name].recipe).data.root).absolute()
    options = ["--one", name, "--images", str(images), "--data.root", str(root)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), *options]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    marked = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
    if done.returncode or not marked:
        raise RuntimeError(f"{name} failed: {done.stderr}")
    expected, taken = json.loads(marked[0].removeprefix("MEASURED "))
    return expected, taken


def measured(config: Config, images: int) -> tuple[float, float]:
    """Train as with `--data.batch_size auto`, but with a given batch; returns the expected and the taken bytes."""
    from cifar100.training.train import start_run  # imports Lightning

    before, expected = 0, 0.0

    def resolve(subject: Subject) -> Config:
        nonlocal before, expected
        return_freed_memory()
        before = resident_memory() or 0
        expected = measure_step_memory(subject, CPU, largest=images).needed(images)
        reset_peak()
        return subject.with_batch_size(images).config

    with patch.object(session, "resolve_batch_size", resolve):
        start_run(config)
    return expected, (peak_memory() or 0) - before


if __name__ == "__main__":
    run_benchmark(main)
