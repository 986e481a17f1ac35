"""Find the learning rate of a run by a range test."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.splits import Split
from cifar100.runs.folder import RunFolder
from cifar100.terminal import say
from cifar100.training.distributed.processes import Processes
from cifar100.training.experiment import assemble
from cifar100.training.finetuning.features import compute_features, on_features
from cifar100.training.lr_finder.plot import plot_result
from cifar100.training.lr_finder.range_test import RangeTest, range_test, steps_of_test
from cifar100.training.lr_finder.suggestions import RangeTestResult, save_result
from cifar100.training.optimization.clock import StandingClock
from cifar100.training.preflight.custom_parts import CustomParts
from cifar100.training.trainer import build_trainer


def find_rate(
    config: Config, info: DatasetInfo, split: Split | None, run: RunFolder, processes: Processes, parts: CustomParts
) -> RangeTestResult:
    """Run the range test on a separate network, so that it cannot affect the training, and write its result.

    All is as at the maximum of the learning-rate schedule: the momentum, and the resolution of the images. Features
    that are computed once stay in the run's folder for its training.

    Raises:
        UserError: no learning rate can be suggested.
    """
    optimization = replace(config.optimization, learning_rate=1.0)  # the test sets its own
    if isinstance(parts.network, nn.Module):
        parts = replace(parts, network=copy.deepcopy(parts.network))
    peak = StandingClock(optimization.pct_start)
    experiment = assemble(replace(config, optimization=optimization), info, split, clock=peak, parts=parts)
    if config.model.cache_features:
        processes.do_once(lambda: compute_features(experiment, run))
        experiment = on_features(experiment, run)
    trainer = build_trainer(
        replace(config.training, max_epochs=1000, max_minutes=None),
        run.path,
        callbacks=[RangeTest(steps_of_test(experiment.steps_per_epoch))],
        validate=False,
        distributed_sampler=parts.datamodule is not None,
    )
    result = range_test(trainer, experiment.module, experiment.data)
    if processes.is_rank_zero:
        others = ", ".join(f"{name} {rate:.2g}" for name, rate in result.suggestions.items() if name != result.taken)
        say(f"learning-rate finder: {result.learning_rate:.2g} ({result.taken}); others: {others}")
        save_result(result, run)
        plot_result(result, run.lr_finder_plot)
    return result
