"""The commands that train several times for one question: `sweep`, `trials`."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from cifar100.commands.loading import loading
from cifar100.config import Config
from cifar100.config.arguments import check_choice, check_config
from cifar100.config.shown_values import shown
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.settings import load_config

if TYPE_CHECKING:
    from cifar100.search.sweep.results import SweepResult
    from cifar100.search.trials.summary import TrialsResult

MAX_WORKERS = 256


def sweep(
    space: str | PathLike[str],
    *,
    name: str | None = None,
    storage: str | None = None,
    workers: int = 1,
) -> SweepResult:
    """Search for better settings with many short runs.

    Given the name of a sweep, shows what it has found. Needs the extra `cifar100[sweep]`. The objective is the
    validation accuracy; test images are not used. Trials are ordinary runs in `logs/sweeps/NAME/`. The same call
    continues an interrupted sweep, and joins a running one.

    Args:
        space: a YAML file: `recipe`, `trials` or `minutes`, `fixed`, `space`. Or the name of a sweep, which is only
            read.
        name: name of the sweep; the default is that of the file.
        storage: address of a PostgreSQL server, for workers on several machines: `postgresql://USER@HOST/DATABASE`. The
            default is an SQLite file in the sweep's folder.
        workers: number of trials at a time on this machine. Each has its own GPUs, or its part of the processors.

    Returns:
        The trials, the best first, and the importances of the settings.

    Raises:
        UserError: the file, the storage or the name cannot be used, or the first trials all fail.
    """
    from cifar100.search.sweep.sweep import read_sweep, run_sweep

    _check_whole("--workers", workers, 1, MAX_WORKERS)
    file = user_path(space)
    if file.suffix in (".yaml", ".yml"):
        return run_sweep(file, name=name, storage=storage, workers=workers)
    if name is not None or workers != 1:
        raise UserError(
            f"--name and --workers need the file of a sweep, but {str(file)!r:.100} is a name; pass SPACE.yaml."
        )
    return read_sweep(str(file), storage=storage)


def trials(
    config: Config | None = None,
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    folds: int | None = None,
    split: Literal["test", "validation"] = "test",
    checkpoint: Literal["last", "best"] = "last",
    name: str | None = None,
) -> TrialsResult:
    """Train with several seeds or folds, and measure mean and spread.

    Each trial is an ordinary run in `logs/trials/NAME/`. The same call continues where it stopped.

    Args:
        config: the settings of all trials; the default is the recipe `original`.
        seeds: number of seeds; the default is 3.
        first_seed: the first of them.
        folds: instead of seeds, the number of stratified folds. Each training image is measured once, by the network
            that was not trained on it, and these probabilities are saved. `data.group_duplicates` keeps near-duplicates
            in one fold.
        split: `test` opens the test images, once for each network; choose settings on `validation`.
        checkpoint: weights to measure: `last`, or `best` by validation accuracy.
        name: of the folder; the default is the name of the recipe.

    Returns:
        A line of each trial, and mean, standard deviation and 95 % interval of what they reached.

    Raises:
        UserError: the data or the settings do not fit, or the folder holds trials with other settings.
    """
    check_config(config)
    check_choice("split", split, ("test", "validation"))
    check_choice("checkpoint", checkpoint, ("last", "best"))
    if seeds is not None and folds is not None:
        raise UserError("--seeds and --folds cannot be used together; use only one.")
    if folds is not None and (first_seed != 0 or split != "test"):
        raise UserError("--first-seed and --split have no effect with --folds; leave them out.")
    _check_whole("--seeds", seeds, 1, 1000)
    _check_whole("--folds", folds, 2, 100)
    _check_whole("--first-seed", first_seed, 0, 2**32 - 1000)
    config = config or load_config()
    with loading():
        from cifar100.search.trials.trials import run_trials

    return run_trials(
        config,
        name=name or f"{config.recipe or 'custom'}{'' if folds is None else f'-{folds}folds'}",
        seeds=range(first_seed, first_seed + (3 if seeds is None else seeds)),
        folds=folds,
        split=split,
        checkpoint=checkpoint,
    )


def _check_whole(option: str, value: Any, minimum: int, maximum: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise UserError(f"{option} is {shown(value)}, but it must be a whole number from {minimum} to {maximum:,}.")
