"""Train a recipe with several seeds: mean accuracy, its spread and its 95 % interval, and the time.

    python benchmarks/accuracy_trials.py --recipe laptop --trials 3
    python benchmarks/accuracy_trials.py --recipe fast --trials 10 --in-process
    python benchmarks/accuracy_trials.py --recipe quickstart --trials 3 --split validation --training.max_epochs 5

This is `cifar100 trials` with a table that names the hardware, and with `--in-process`. Test images are opened once for
each trained network; to choose settings, use `--split validation`, which does not open them.

The time is that of the training from its start to its end, on prepared data, without evaluation. Each training is a
separate process, whose start is timed as well. With `--in-process` all trials run in this process. The first one
includes compilation and a cold device, so its time is reported separately ("cold"); its accuracy counts like any other.
Imports are then not timed.

Trials are in `logs/trials/NAME/`, one line of JSON each in `trials.jsonl`. The same command resumes. Trials of other
settings are refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import data_settings, describe_versions, run_benchmark, show_table

# isort: split
from cifar100.cli.main import build_parser
from cifar100.config import Config
from cifar100.config import settings as known_settings
from cifar100.config.conversion import convert
from cifar100.errors import UserError
from cifar100.search.trials.summary import Figure, TrialsResult, summarize
from cifar100.search.trials.trials import run_trials
from cifar100.settings import given_settings, load_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials that are missing and print the table; returns the exit status."""
    options, given = parse(arguments)
    result = run_trials(
        configure(options.recipe, given),
        name=options.name or f"{options.recipe}{'-in-process' if options.in_process else ''}",
        seeds=range(options.first_seed, options.first_seed + options.trials),
        split=options.split,
        checkpoint=options.checkpoint,
        in_process=options.in_process,
    )
    show(result, options, given)
    return 0


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Read the command line; the second value is the settings that it gives, by name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--recipe", default="original", help="default: original")
    parser.add_argument("--trials", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="default: 0")
    parser.add_argument("--name", help="of the folder below logs/trials/ (default: the recipe)")
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


def configure(recipe: str, given: dict[str, Any]) -> Config:
    """Return the settings of the trials, with the data folder as an absolute path.

    Raises:
        UserError: the data are not prepared, or a setting is wrong.
    """
    root = Path(given["data.root"]) if "data.root" in given else None
    return load_config(recipe, overrides={**given, **data_settings(recipe, root)})


def show(result: TrialsResult, options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Print the table. With `--in-process`, the time of the first trial has its own row."""
    figures = list(result.figures)
    if options.in_process:
        figures = [figure for figure in figures if figure.name != "seconds"]
        for is_cold, label in ((True, "seconds of train, cold"), (False, "seconds of train, warm")):
            lines = [line for line in result.lines if line["cold"] is is_cold]
            times = [figure for figure in summarize(lines, split=options.split) if figure.name == "seconds"]
            figures += [Figure(**{**vars(figure), "name": label}) for figure in times]
    overrides = " ".join(f"--{name} {'null' if value is None else value}" for name, value in given.items()) or "none"
    places = sorted({f"{line['hardware']} ({line['versions']})" for line in result.lines})
    show_table(
        f"Accuracy trials: recipe {options.recipe}, {len(result.lines)} trials",
        ["figure", "trials", "mean", "standard deviation", "95 % interval of the mean"],
        [row_of(figure) for figure in figures],
        notes=[
            f"Overrides: {overrides}. Trials: {', '.join(line['trial'] for line in result.lines)}.",
            f"{result.rule} Lines: {result.file}",
            *(f"Trained on: {place}" for place in places),
        ],
        versions=describe_versions(),
    )


def row_of(figure: Figure) -> list[str]:
    """Return a row of the table."""
    text = "{:.2%}".format if figure.name.endswith("accuracy") else "{:.2f}".format
    deviation = "" if figure.deviation is None else text(figure.deviation)
    interval = "" if figure.interval is None else " to ".join(map(text, figure.interval))
    return [figure.name, str(figure.num_trials), text(figure.mean), deviation, interval]


if __name__ == "__main__":
    run_benchmark(main)
