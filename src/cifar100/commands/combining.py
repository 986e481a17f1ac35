"""The commands that combine several runs: `evaluate --ensemble`, `average`."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Literal

from cifar100.commands.loading import loading
from cifar100.config.arguments import check_choice, run_arguments
from cifar100.files.user_paths import user_path
from cifar100.runs.folder import check_name, find_run_folder

if TYPE_CHECKING:
    from cifar100.models import NetworkSource
    from cifar100.results.combining.average import Average
    from cifar100.results.combining.ensemble import EnsembleEvaluation


def ensemble(
    runs: Iterable[str | PathLike[str]],
    *,
    split: Literal["test", "validation"] = "test",
    checkpoint: Literal["best", "last"] = "best",
    experiment: str | None = None,
    data_root: str | PathLike[str] | None = None,
) -> EnsembleEvaluation:
    """Measure an ensemble: the mean of the probabilities of several runs.

    It is computed from what `evaluate` has saved. Members that were not measured on these images are measured first.

    Args:
        runs: at least two run folders or experiment names, of the same classes.
        split: `test` opens the test images; choose members on `validation`.
        checkpoint: `best` or `last`, of each run.
        experiment: name of the folder of the result in `logs/`; the default is `ensemble-RUN-RUN`.
        data_root: another data folder with the same classes; the default is that of each run.

    Returns:
        The figures of the ensemble and of each member, as in `evaluation_<split>.json` of the folder.

    Raises:
        UserError: the runs are of different classes or images, one cannot be measured, or the name is taken.
    """
    folders = [find_run_folder(run) for run in run_arguments(runs)]
    check_name(experiment)
    with loading():
        from cifar100.results.combining.ensemble import evaluate_ensemble

    return evaluate_ensemble(
        folders,
        split=split,
        checkpoint=checkpoint,
        experiment=experiment,
        data_root=None if data_root is None else user_path(data_root),
    )


def average(
    runs: Iterable[str | PathLike[str]],
    *,
    experiment: str | None = None,
    checkpoint: Literal["best", "last"] = "best",
    network: NetworkSource | None = None,
    data_root: str | PathLike[str] | None = None,
) -> Average:
    """Average the weights of runs with the same start, into a new run.

    The batch-norm statistics are computed again on training images. Members that were not measured on their validation
    images are measured first, to compare the average with them.

    Args:
        runs: at least two run folders or experiment names, or .ckpt files in run folders.
        experiment: name of the new folder in `logs/`; the default is the next free `experiment<N>`.
        checkpoint: `best` or `last`, of each run that is not given as a file.
        network: see `evaluate`.
        data_root: another folder with the data of the runs; the default is their own.

    Returns:
        The new run folder, and how good it is on the validation images, if there are any.

    Raises:
        UserError: the runs are of different networks, starts or data, or their data are missing.
    """
    given = run_arguments(runs)
    check_choice("checkpoint", checkpoint, ("best", "last"))
    check_name(experiment)
    places = [
        (find_run_folder(user_path(run).absolute().parent.parent), user_path(run))
        if str(run).endswith(".ckpt")
        else (find_run_folder(run), checkpoint)
        for run in given
    ]
    with loading():
        from cifar100.results.combining.average import average
        from cifar100.results.combining.members import Source

    return average(
        [Source(run=run, checkpoint=which) for run, which in places],
        experiment=experiment,
        network=network,
        data_root=None if data_root is None else user_path(data_root),
    )
