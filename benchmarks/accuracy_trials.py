"""Train a recipe with several seeds: mean accuracy, its spread and its 95 % interval, and the time.

    python benchmarks/accuracy_trials.py --recipe laptop --trials 3 --output laptop.jsonl
    python benchmarks/accuracy_trials.py --recipe fast --trials 10 --in-process --output fast.jsonl
    python benchmarks/accuracy_trials.py --recipe quickstart --trials 3 --split validation --training.max_epochs 5

Each trial is `commands.train` with the next seed, then `commands.evaluate` on the weights of `--checkpoint`. Test
images are opened once for each trained network; to choose settings, use `--split validation`, which leaves them closed.

Timed is `train` from its start to its end, on data that are prepared already; evaluation is not in it. Each trial is a
command in a process of its own, started on the clock. With `--in-process` all trials run in this process: the first
one, which pays for compilation and a cold device, is reported separately ("cold"); its accuracy counts like any other.
Importing is then outside the clock.

Each finished trial is a line of JSON in `--output`, appended at once. The same command resumes: seeds
that the file contains are skipped. A file with other settings is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measure import data_settings, describe_hardware, describe_versions, run_benchmark, show_table

# isort: split
from cifar100.cli.main import build_parser
from cifar100.config import Config
from cifar100.config import settings as known_settings
from cifar100.config.conversion import convert
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.settings import given_settings, load_config, to_dict, write_config

Trial = dict[str, Any]
"""One line of the output file."""

NOT_COMPARED = {"training": {"seed"}, "data": {"root", "source"}}
"""Settings in which the trials of one file may differ."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials that are missing and print the table; returns the exit status."""
    options, given = parse(arguments)
    config = configure(options.recipe, given)
    output = options.output or Path(f"{options.recipe}_trials.jsonl")
    facts = as_read_back(
        {
            "recipe": options.recipe,
            "overrides": {name: value for name, value in given.items() if name != "data.root"},
            "split": options.split,
            "checkpoint": options.checkpoint,
            "in_process": options.in_process,
            "settings": compared_settings(config),
        }
    )
    trials = read_trials(output, facts)
    finished = {trial["seed"] for trial in trials}
    seeds = [seed for seed in range(options.first_seed, options.first_seed + options.trials) if seed not in finished]
    for number, seed in enumerate(seeds):
        print(f"trial {seed} ({number + 1} of {len(seeds)} to do)", file=sys.stderr)
        trial = {
            **facts,
            **run_trial(options.recipe, given, seed, options),
            "cold": number == 0 or not options.in_process,
        }
        append(trial, output)
        trials.append(trial)
    show(trials, output)
    return 0


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Read the command line; the second value is the settings that it gives, by name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--recipe", default="original", help="default: original")
    parser.add_argument("--trials", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="default: 0")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: RECIPE_trials.jsonl")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="images to evaluate on")
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last", help="weights to evaluate")
    parser.add_argument("--in-process", action="store_true", help="all trials in this process, warm after the first")
    options, rest = parser.parse_known_args(arguments)
    texts = given_settings(build_parser("train", options.recipe).parse_args(rest))
    given = {name: convert(name, text, known_settings()[name].annotation) for name, text in texts.items()}
    if options.trials < 1:
        raise UserError(f"--trials is {options.trials}, but it must be at least 1.")
    if "training.seed" in given:
        raise UserError("--training.seed differs from trial to trial; choose the first with --first-seed.")
    return options, given


def configure(recipe: str, given: dict[str, Any], *, seed: int = 0) -> Config:
    """Return the settings of a trial, with the data folder as an absolute path.

    Raises:
        UserError: the data are not prepared, or a setting is wrong.
    """
    root = Path(given["data.root"]) if "data.root" in given else None
    return load_config(recipe, overrides={**given, **data_settings(recipe, root), "training.seed": seed})


def compared_settings(config: Config) -> dict[str, Any]:
    """Return the settings that all trials of a file have in common."""
    settings = to_dict(config)
    for section, names in NOT_COMPARED.items():
        settings[section] = {name: value for name, value in settings[section].items() if name not in names}
    return settings


def as_read_back(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what a file will hold of some facts: lists for tuples, text for paths."""
    read: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return read


def read_trials(output: Path, facts: dict[str, Any]) -> list[Trial]:
    """Read the trials of a file; none if there is no file.

    Raises:
        UserError: it is damaged, or its trials have other settings.
    """
    if not output.exists():
        return []
    try:
        trials = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise UserError(f"{output} is damaged ({error}); remove the line or choose another --output.") from error
    for trial in trials:
        difference = first_difference({name: trial.get(name) for name in facts}, facts)
        if difference:
            raise UserError(f"{output} holds trials with other settings ({difference}); choose another --output.")
    return trials


def first_difference(found: Any, wanted: Any, name: str = "") -> str:
    """Return `name: found there, wanted here` for the first difference of two nested dicts; empty for none."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        differences = (
            first_difference(found.get(key), wanted.get(key), f"{name}.{key}".removeprefix("."))
            for key in sorted(found.keys() | wanted.keys())
        )
        return next(filter(None, differences), "")
    return "" if found == wanted else f"{name}: {found} there, {wanted} here"


def append(trial: Trial, output: Path) -> None:
    """Add a line to the file."""
    with output.open("a", encoding="utf-8") as file:
        file.write(json.dumps(trial) + "\n")


def run_trial(recipe: str, given: dict[str, Any], seed: int, options: argparse.Namespace) -> Trial:
    """Train with one seed and evaluate, in a temporary folder; returns what this trial found. Times in seconds."""
    from cifar100 import commands

    config = configure(recipe, given, seed=seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        started = time.perf_counter()
        if options.in_process:
            with contextlib.redirect_stdout(sys.stderr):
                commands.train(config, experiment="trial")
        else:
            train_in_a_process(config)
        seconds = time.perf_counter() - started
        run = RunFolder(Path("logs/trial"))
        metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
        evaluation = commands.evaluate(run.path, split=options.split, checkpoint=options.checkpoint)
    chosen = metrics["best"] if options.checkpoint == "best" else metrics["epochs"][-1]
    return {
        "seed": seed,
        "epochs": len(metrics["epochs"]),
        "seconds": round(seconds, 3),
        "epochs_seconds": round(sum(epoch["seconds"] for epoch in metrics["epochs"]), 3),
        "validation_top1": evaluation.top1 if options.split == "validation" else (chosen or {}).get("val/accuracy"),
        "test_top1": evaluation.top1 if options.split == "test" else None,
        "data": evaluation.data,
        "hardware": describe_hardware(),
        "versions": describe_versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def train_in_a_process(config: Config) -> None:
    """Run `cifar100 train` in the current folder, with what it prints on the error stream.

    Raises:
        UserError: it failed, and has said why.
    """
    write_config(config, Path("trial.yaml"), comment="one trial")
    command = [sys.executable, "-m", "cifar100", "train", "--config", "trial.yaml", "--experiment", "trial"]
    status = subprocess.run(command, stdout=sys.stderr.fileno(), check=False).returncode
    if status:
        raise UserError(f"`cifar100 train` ended with status {status}; finished trials are kept.")


def mean_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, standard deviation (n - 1) and half the width of the 95 % interval of the mean (Student's t).

    With one value, the last two are nan.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    deviation = statistics.stdev(values)
    return mean, deviation, t_quantile(0.975, len(values) - 1) * deviation / math.sqrt(len(values))


def t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Return the quantile of Student's t distribution for a probability of 0.5 to 0.9995.

    With t = sqrt(n) tan(angle), the density is proportional to cos(angle) ** (n - 1), which Simpson's rule integrates;
    the angle is found by bisection.
    """
    low, high = 0.0, math.pi / 2
    whole = _integral_of_cosine_power(degrees_of_freedom - 1, high)
    for _ in range(60):
        angle = (low + high) / 2
        reached = 0.5 + 0.5 * _integral_of_cosine_power(degrees_of_freedom - 1, angle) / whole
        low, high = (angle, high) if reached < probability else (low, angle)
    return math.sqrt(degrees_of_freedom) * math.tan(low)


def _integral_of_cosine_power(power: int, end: float, *, intervals: int = 2000) -> float:
    """Integrate cos(x) ** power from 0 to `end`."""
    width = end / intervals
    values = [math.cos(index * width) ** power for index in range(intervals + 1)]
    return width / 3 * (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2]))


def show(trials: list[Trial], output: Path) -> None:
    """Print the table."""
    first = trials[0]
    shown = {"test_top1": "test top-1 %", "validation_top1": "validation top-1 %"}
    rows = [row_of(label, [trial[name] for trial in trials], 100, ".2f") for name, label in shown.items()]
    for label, cold in (("seconds of train", True), ("seconds of train, warm", False)):
        chosen = [trial["seconds"] for trial in trials if trial["cold"] is cold]
        name = f"{label}, cold" if cold and first["in_process"] else label
        rows.append(row_of(name, chosen, 1, ".2f"))
    rows.append(row_of("of which in epochs", [trial["epochs_seconds"] for trial in trials], 1, ".2f"))
    rows.append(row_of("epochs", [trial["epochs"] for trial in trials], 1, "g"))
    overrides = (
        " ".join(f"--{name} {'null' if value is None else value}" for name, value in first["overrides"].items())
        or "none"
    )
    seeds = ", ".join(str(trial["seed"]) for trial in sorted(trials, key=lambda trial: trial["seed"]))
    places = sorted({f"{trial['hardware']} ({trial['versions']})" for trial in trials})
    show_table(
        f"Accuracy trials: recipe {first['recipe']}, {len(trials)} trials",
        ["figure", "trials", "mean", "standard deviation", "95 % interval of the mean"],
        [row for row in rows if row],
        notes=[
            f"Overrides: {overrides}. Seeds: {seeds}. Data: {first['data']}.",
            f"Evaluated on the {first['split']} images, weights of the {first['checkpoint']} epoch. Lines: {output}",
            *(f"Trained on: {place}" for place in places),
        ],
        versions=describe_versions(),
    )


def row_of(label: str, values: Sequence[float | None], factor: float, form: str) -> list[str]:
    """Return a row of the table; empty if there is no value. Values are multiplied by `factor`."""
    known = [value * factor for value in values if value is not None]
    if not known:
        return []
    mean, deviation, half = mean_and_interval(known)
    spread = [f"{deviation:{form}}", f"{mean - half:{form}} to {mean + half:{form}}"] if len(known) > 1 else ["", ""]
    return [label, str(len(known)), f"{mean:{form}}", *spread]


if __name__ == "__main__":
    run_benchmark(main)
