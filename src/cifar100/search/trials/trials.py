"""Repeat a training with several seeds, or on each fold: one line of JSON each, and what they have in common.

Each trial is an ordinary run below `logs/trials/NAME/`. The same call continues where it stopped.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cifar100.config import Config
from cifar100.data.prepare import ensure_prepared
from cifar100.devices import resolve
from cifar100.environment import describe_devices, describe_versions
from cifar100.errors import Diverged, UserError
from cifar100.files.atomic import writing_below
from cifar100.process.launchers import launcher
from cifar100.results.evaluate import evaluate
from cifar100.results.report.for_trackers import write_tracked_report
from cifar100.runs.folder import LOGS, RunFolder, check_name
from cifar100.runs.history import best_epoch, read_epochs
from cifar100.search.earlier import check_earlier, is_finished, train_once
from cifar100.search.trials.checks import check_images
from cifar100.search.trials.fold_probabilities import save_fold_probabilities
from cifar100.search.trials.lines import Line, append_line, read_lines, shared_facts
from cifar100.search.trials.summary import TrialsResult, describe_rule, summarize
from cifar100.terminal import say
from cifar100.training.finetuning.initial_weights import with_native_input
from cifar100.training.train import resume_run, start_run

TRIALS = LOGS / "trials"

LINES, PROBABILITIES = "trials.jsonl", "probabilities.npz"

Trainer = Callable[[Config, RunFolder, str], object]
"""Trains a run to its end. The text says which one."""


def run_trials(
    config: Config,
    *,
    name: str,
    seeds: Sequence[int] = (),
    folds: int | None = None,
    split: Literal["test", "validation"] = "test",
    checkpoint: Literal["last", "best"] = "last",
    in_process: bool = False,
    below: Path = TRIALS,
) -> TrialsResult:
    """Train what is missing, measure each run once, and return the figures.

    Args:
        config: the settings of all trials except for the seed or the fold.
        name: of the folder below `logs/trials`.
        seeds: one trial each.
        folds: instead of seeds, the number of folds; each is measured on the images that it held out.
        split: images to measure on; `validation` with folds.
        checkpoint: weights to measure.
        in_process: train in this process, so that all but the first trial are warm. Else each has its own.
        below: folder instead of `logs/trials`.

    Raises:
        UserError: the data or the settings do not fit, or the folder holds trials with other settings.
    """
    if launcher() is not None:
        raise UserError("trials starts its own training processes; run it without torchrun or srun.")
    check_name(name, option="--name")
    split = "validation" if folds is not None else split
    config = with_native_input(config)
    data = config.data
    info = ensure_prepared(
        data.source,
        data.root,
        needs_images=data.pipeline == "images",
        image_size=data.side,
        skip_damaged=data.skip_damaged,
    )
    check_images(config, info, split=split, folds=folds)
    if folds is None:
        configs = {f"seed{seed}": _with(config, training={"seed": seed}) for seed in seeds}
    else:
        configs = {f"fold{fold}": _with(config, data={"num_folds": folds, "fold": fold}) for fold in range(folds)}
    configs = {label: resolve(each) for label, each in configs.items()}
    folder = below / name
    facts = shared_facts(next(iter(configs.values())), info, split=split, checkpoint=checkpoint)
    lines = {line["trial"]: line for line in read_lines(folder / LINES, facts)}
    missing = {label: each for label, each in configs.items() if label not in lines}
    for label, each in missing.items():
        move = f"rename or remove {folder}, or choose another --name"
        check_earlier(RunFolder(folder / label), each, info, move=move)
    with writing_below(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for number, (label, each) in enumerate(missing.items(), 1):
        train = _train_here if in_process else _train_apart
        found = _trial(each, RunFolder(folder / label), train, f"{label}: {number} of {len(missing)} to do", facts)
        lines[label] = {**facts, "trial": label, **found, "cold": number == 1 or not in_process}
        append_line(lines[label], folder / LINES)
    chosen = [lines[label] for label in configs]
    probabilities = None
    if folds is not None:
        probabilities = folder / PROBABILITIES
        runs = [RunFolder(folder / label) for label in configs]
        save_fold_probabilities(runs, info, probabilities, checkpoint=checkpoint)
    return TrialsResult(
        name=name,
        lines=chosen,
        figures=summarize(chosen, split=split),
        rule=describe_rule(chosen, split=split, checkpoint=checkpoint, folds=folds),
        file=folder / LINES,
        probabilities=probabilities,
    )


def _trial(config: Config, run: RunFolder, train: Trainer, what: str, facts: Mapping[str, Any]) -> Line:
    """Train and measure one run. Its time is known only if it was trained without an interruption."""
    is_new = not run.config.is_file()
    started = time.perf_counter()
    try:
        if not is_finished(run):
            train(config, run, what)
    except Diverged:
        return {"run": run.path.as_posix(), "diverged": True, "seconds": None, **_where()}
    seconds = time.perf_counter() - started
    split = facts["split"]
    measured = evaluate(run, split=split, checkpoint=facts["checkpoint"])
    epochs = read_epochs(run.metrics)
    best = best_epoch(epochs) or {}
    validation = best.get("val/accuracy") if facts["checkpoint"] == "best" else epochs[-1].get("val/accuracy")
    return {
        "run": run.path.as_posix(),
        "diverged": False,
        "epochs": len(epochs),
        "seconds": round(seconds, 3) if is_new else None,
        "epochs_seconds": round(sum(epoch["seconds"] for epoch in epochs), 3),
        "validation_accuracy": measured.top1 if split == "validation" else validation,
        "test_accuracy": measured.top1 if split == "test" else None,
        "num_images": measured.num_images,
        "images_sha256": measured.images_sha256,
        **_where(),
    }


def _train_apart(config: Config, run: RunFolder, what: str) -> None:
    train_once(config, run, what=what)


def _train_here(config: Config, run: RunFolder, what: str) -> None:
    say(what)
    with contextlib.redirect_stdout(sys.stderr):
        if run.config.is_file():
            resume_run(run, write_report=write_tracked_report)
        else:
            start_run(config, experiment=run.name, below=run.path.parent, write_report=write_tracked_report)


def _where() -> Line:
    """Return hardware, versions and date."""
    devices = ", ".join(text for text in describe_devices().values() if text != "none")
    versions = ", ".join(f"{name} {version}" for name, version in describe_versions().items())
    return {"hardware": devices, "versions": versions, "date": datetime.now(UTC).isoformat(timespec="seconds")}


def _with(config: Config, **sections: dict[str, Any]) -> Config:
    return replace(config, **{name: replace(getattr(config, name), **values) for name, values in sections.items()})
