"""Measure how long commands and imports take, and `train` to its first training step.

    python benchmarks/startup.py
    python benchmarks/startup.py --data.root dataset      # data that are prepared already

Each row is a separate process, timed from before its start to its end. The last row ends when the device has finished
the first optimizer step of `train --recipe quickstart` on prepared data. A hook in that process reads the clock and
ends it. Without `--data.root`, Shapes-100 is prepared in a temporary folder first, which is not timed. The rows take
turns. The table shows medians over the rounds, after one more round that warms the disk cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from measure import data_settings, describe_versions, interleaved, run_benchmark, show_table

# isort: split
from cifar100.data.prepare import prepare

HELP_GOAL_SECONDS = 0.5

COMMANDS = {
    "cifar100 --help": ["-m", "cifar100", "--help"],
    "cifar100 train --help": ["-m", "cifar100", "train", "--help"],
    "cifar100 recipes": ["-m", "cifar100", "recipes"],
    "cifar100 info": ["-m", "cifar100", "info"],
    "python alone": ["-c", "pass"],
    "import cifar100.commands": ["-c", "import cifar100.commands"],
    "import torch": ["-c", "import torch"],
    "import lightning": ["-c", "import lightning"],
    "import cifar100.training.train": ["-c", "import cifar100.training.train"],
    "import cifar100.results.evaluate": ["-c", "import cifar100.results.evaluate"],
    "import cifar100.results.prediction.stream": ["-c", "import cifar100.results.prediction.stream"],
}

FIRST_STEP = "train --recipe quickstart, to the first training step"

TRAIN_ONE_STEP = """
import json, os, sys, time
from cifar100 import commands
from cifar100.settings import load_config

def end(trainer, module, outputs, batch, batch_idx):
    outputs["loss"].item()  # waits for the device
    print("FIRST STEP", time.time(), flush=True)
    os._exit(0)

config = load_config("quickstart", overrides=json.loads(sys.argv[1]))
import lightning  # the run needs it anyway
commands.train(config, callbacks=[lightning.pytorch.callbacks.LambdaCallback(on_train_batch_end=end)])
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root
        if root is None:
            root = Path(folder) / "dataset"
            prepare(source="generated", root=root)
        settings = data_settings("quickstart", root)
        first_steps: list[float] = []
        contestants: dict[str, Callable[[], object]] = {
            name: partial(run, command, folder) for name, command in COMMANDS.items()
        }
        contestants[FIRST_STEP] = lambda: first_steps.append(seconds_to_first_step(settings, folder))
        interleaved(contestants, repeats=1)
        first_steps.clear()
        seconds = interleaved(contestants, repeats=options.repeats)
    show({**seconds, FIRST_STEP: first_steps}, repeats=options.repeats)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", type=Path, help="prepared data for `train`")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    return parser.parse_args(arguments)


def run(command: list[str], folder: str) -> str:
    """Run Python in a folder and return what it printed.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr}")
    return done.stdout


def seconds_to_first_step(settings: dict[str, str], folder: str) -> float:
    """Return the seconds from before the start of the process to the end of its first training step."""
    started = time.time()  # the one clock that two processes share
    output = run(["-c", TRAIN_ONE_STEP, json.dumps(settings)], folder)
    marked = [line for line in output.splitlines() if line.startswith("FIRST STEP")]
    return float(marked[0].split()[-1]) - started


def show(seconds: dict[str, list[float]], *, repeats: int) -> None:
    """Print the table."""
    rows = []
    for name, times in seconds.items():
        goal = f"{HELP_GOAL_SECONDS:g}" if name.endswith("--help") else ""
        rows.append([name, f"{median(times):.2f}", f"{min(times):.2f}", f"{max(times):.2f}", goal])
    show_table(
        "Startup: seconds from the start of the process",
        ["what", "median", "shortest", "longest", "goal: at most"],
        rows,
        notes=[f"{repeats} rounds."],
        versions=describe_versions(),
    )


if __name__ == "__main__":
    run_benchmark(main)
