"""An average of the weights of several runs: one network, as fast as each of them.

Of one training trajectory: stochastic weight averaging (Izmailov et al., 2018). Of several runs that began with the
same trained weights: model soups (Wortsman et al., 2022). Also such an average may be of no use, so that its validation
accuracy is measured beside that of its members.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cifar100.config import Config
from cifar100.data.dataset_info import Triple, read_info, write_info
from cifar100.data.folder.splits import load_split, save_split
from cifar100.errors import UserError
from cifar100.files.atomic import write_atomically, write_json
from cifar100.files.regular import MAX_JSON_BYTES, read_bytes
from cifar100.long_steps import progress
from cifar100.models import NetworkSource
from cifar100.results.combining.batch_norm import has_statistics, measure_statistics
from cifar100.results.combining.members import (
    Source,
    against_members,
    check_distinct,
    check_same_classes,
    check_same_images,
    measured,
)
from cifar100.results.combining.starts import PART_OF_START, check_one_start, ensemble_command
from cifar100.results.comparison.result import PairComparison
from cifar100.results.evaluate import Evaluation, evaluate
from cifar100.results.evaluation_data import images_of
from cifar100.results.saved_evaluation import SavedEvaluation, load_evaluation
from cifar100.runs.checkpoints import NETWORK_PREFIX, read_checkpoint, write_checkpoint
from cifar100.runs.combined import Combined, Member, write_combined
from cifar100.runs.folder import BEST, RunFolder, create_run_folder, read_parts
from cifar100.runs.status import FINISHED, write_status
from cifar100.runs.trained_network import TrainedNetwork, load_trained
from cifar100.settings import load_complete_config, write_config
from cifar100.terminal import warn

NUM_IMAGES = 10_000
"""Training images from which the statistics of batch norm are measured, or all if there are fewer."""

BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class Average:
    """A new run folder that holds averaged weights, and how good they are."""

    run: RunFolder
    members: list[Member]
    evaluation: Evaluation | None
    """On the validation images; None if there are none."""

    member_accuracies: list[float]
    """Of the members on the same images, 0 to 1; empty if there are none."""

    against_members: list[PairComparison]
    """The average against each member on these images; empty if there are none."""


def average(
    sources: Sequence[Source],
    *,
    experiment: str | None = None,
    network: NetworkSource | None = None,
    data_root: Path | None = None,
) -> Average:
    """Average the weights of runs, measure the batch-norm statistics again, and write a run folder with the result.

    Members that were not measured on their validation images are measured; that is saved in their folders.

    Args:
        sources: at least two, of one architecture and one start, the same data and the same validation images.
        experiment: name of the new folder in `logs/`; None: the next free `experiment<N>`.
        network: see `load_trained`.
        data_root: folder with the data of the runs; None: that of each run.

    Raises:
        UserError: the runs do not fit together, or their data are missing.
    """
    check_distinct(sources, doing="an average")
    runs = [source.run for source in sources]
    for run in runs:
        if "datamodule" in read_parts(run):
            raise UserError(
                f"{run.path} was trained with a data module from Python, whose images are not in a data folder; an "
                "average needs them for the statistics of batch normalisation. Choose other runs."
            )
    check_same_classes(runs)
    check_same_images(runs, "validation")
    configs = [load_complete_config(run.config) for run in runs]
    _check_same_network(runs, configs)
    load_trained(runs[0], sources[0].checkpoint, network=network)  # explains a custom network that is missing
    check_one_start(runs, configs, network)
    members = [source.member() for source in sources]
    has_validation = len(load_split(runs[0].split).validation) > 0
    evaluations = (
        [measured(source, split="validation", network=network, data_root=data_root) for source in sources]
        if has_validation
        else []
    )
    trained = _averaged(sources, network)  # after measuring: a module from Python gets the weights of each member
    if has_statistics(trained.network):
        measure_statistics(trained.network, _batches(trained, runs[0], data_root))
    combined = Combined(kind="average", members=tuple(members))
    folder = _write(trained, sources[0], combined, configs[0], experiment)
    if not has_validation:
        warn("the runs have no validation images, so it is not known yet whether the average is better; evaluate it.")
        return Average(run=folder, members=members, evaluation=None, member_accuracies=[], against_members=[])
    return _measure(folder, members, evaluations, network=network, data_root=data_root)


def _check_same_network(runs: Sequence[RunFolder], configs: Sequence[Config]) -> None:
    parts = [read_parts(run).get("network") for run in runs]
    for run, config, part in zip(runs, configs, parts, strict=True):
        ours, theirs = (parts[0] or configs[0].model.name), (part or config.model.name)
        if _architecture(config) != _architecture(configs[0]) or part != parts[0]:
            what = f"{ours} and {theirs}" if ours != theirs else f"{ours} with different settings"
            raise UserError(
                f"{runs[0].argument} and {run.argument} have different architectures ({what}), so their weights "
                f"cannot be averaged. {ensemble_command(runs)}"
            )
        if _normalization(run, config) != _normalization(runs[0], configs[0]):
            raise UserError(
                f"{runs[0].argument} and {run.argument} normalise images differently (data.mean, data.std); average "
                "runs with the same."
            )
        if config.data.side != configs[0].data.side:
            sides = f"{configs[0].data.side} and {config.data.side} pixels"
            raise UserError(
                f"{runs[0].argument} and {run.argument} scale images to different sizes ({sides}), but an average has "
                "one; average runs with the same data.image_size."
            )


def _architecture(config: Config) -> dict[str, Any]:
    """Return the settings of `model` without those of where the training begins."""
    return {name: value for name, value in vars(config.model).items() if name not in PART_OF_START}


def _normalization(run: RunFolder, config: Config) -> tuple[Triple, Triple]:
    """Return mean and standard deviation of the channels: of the settings, else of the data."""
    mean, std = read_info(run.dataset_info).normalization
    return config.data.mean or mean, config.data.std or std


def _averaged(sources: Sequence[Source], network: NetworkSource | None) -> TrainedNetwork:
    """Return the last member with the mean of all weights; whole numbers, such as counters, are those of the last."""
    total: dict[str, Tensor] = {}
    for source in sources:
        trained = load_trained(source.run, source.checkpoint, network=network)
        for name, value in trained.network.state_dict().items():
            if value.is_floating_point():
                own = value.to("cpu", torch.float64) / len(sources)
                total[name] = total[name] + own if name in total else own
    state = trained.network.state_dict()
    trained.network.load_state_dict(state | {name: value.to(state[name].dtype) for name, value in total.items()})
    return trained


def _batches(trained: TrainedNetwork, run: RunFolder, data_root: Path | None) -> Iterator[Tensor]:
    """Yield batches of training images in random order: custom data may be sorted by class."""
    images, _, _ = images_of(trained, run, split="train", data_root=data_root, most=NUM_IMAGES)
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(images))
    size = min(BATCH_SIZE, len(order))
    starts = range(0, len(order) - size + 1, size)
    with progress("Measuring the statistics of batch norm", total=size * len(starts)) as advance:
        for start in starts:
            yield trained.normalized(torch.from_numpy(images[np.sort(order[start : start + size])]))
            advance(size)


def _write(
    trained: TrainedNetwork, source: Source, combined: Combined, config: Config, experiment: str | None
) -> RunFolder:
    content = read_checkpoint(source.path)
    first = source.run

    def fill(folder: RunFolder, _: str) -> None:
        comment = f"An average of the weights of {combined.names}. The settings are those of {first.name}."
        write_config(config, folder.config, comment=comment)
        write_info(read_info(first.dataset_info), folder.dataset_info)
        save_split(load_split(first.split), folder.split)
        for path in (first.custom_parts, first.model_info, first.initial_weights):
            if path.is_file():
                write_atomically(folder.path / path.name, read_bytes(path, limit=MAX_JSON_BYTES))
        write_combined(combined, folder)
        _write_metrics(folder, config, None)
        state = {f"{NETWORK_PREFIX}{name}": value.cpu() for name, value in trained.network.state_dict().items()}
        weights: dict[str, Any] = {
            **{name: content[name] for name in ("hyper_parameters", "pytorch-lightning_version") if name in content},
            "state_dict": state,
            "averaged": False,
            "epoch": max(member.epoch for member in combined.members) - 1,
        }
        write_checkpoint(weights, folder.checkpoints / BEST)
        write_status(folder, FINISHED)

    return create_run_folder(experiment, fill)


def _write_metrics(folder: RunFolder, config: Config, best: dict[str, Any] | None) -> None:
    """Write `metrics.json` of a run without epochs."""
    data = read_info(folder.dataset_info).describe()
    write_json({"recipe": config.recipe, "data": data, "finished": True, "best": best, "epochs": []}, folder.metrics)


def _measure(
    folder: RunFolder,
    members: Sequence[Member],
    evaluations: Sequence[SavedEvaluation],
    *,
    network: NetworkSource | None,
    data_root: Path | None,
) -> Average:
    evaluation = evaluate(folder, split="validation", checkpoint="best", network=network, data_root=data_root)
    saved = load_evaluation(folder, "validation")
    if saved is None:
        raise UserError(f"the evaluation of {folder.path} could not be saved; free some space there, then evaluate it.")
    config = load_complete_config(folder.config)
    _write_metrics(folder, config, {"epoch": evaluation.epoch, "val/accuracy": evaluation.top1})
    accuracies = _accuracies(evaluations)
    if evaluation.top1 < min(accuracies):
        warn(
            f"the average classifies {evaluation.top1:.2%} of the validation images correctly, less than each member "
            f"({min(accuracies):.2%} to {max(accuracies):.2%}): their weights are too far apart. " + _instead(members)
        )
    return Average(
        run=folder,
        members=list(members),
        evaluation=evaluation,
        member_accuracies=accuracies,
        against_members=against_members(saved.predicted, members, evaluations, name=folder.name),
    )


def _instead(members: Sequence[Member]) -> str:
    """Return the sentence that names what can be used instead: an ensemble takes each run once."""
    is_of_several_runs = len({member.path for member in members}) == len(members)
    return ensemble_command([member.run for member in members]) if is_of_several_runs else "Use one of them instead."


def _accuracies(evaluations: Sequence[SavedEvaluation]) -> list[float]:
    return [float((each.predicted == each.labels).mean()) for each in evaluations]
