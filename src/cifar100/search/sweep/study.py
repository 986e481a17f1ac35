"""The trials of a sweep, in Optuna: how a sweep is begun or joined, and which of its trials count.

A trial that was interrupted is marked as failed, and its copy waits in the queue. The copy keeps the number of the
first one as its origin, which names the run folder, so that the run is resumed.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar100.config.shown_values import shown
from cifar100.errors import UserError
from cifar100.runs.folder import LOGS
from cifar100.search.sweep.parameters import Parameter, Value, stored
from cifar100.search.sweep.space import Space
from cifar100.search.sweep.storage import Address

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

SWEEPS = LOGS / "sweeps"

MAX_KILLS = 3
"""A trial whose worker was killed more often is not taken up again: it may be what kills them."""

ORIGIN, KILLS, SURPLUS, FAILURE, STARTED = "origin", "kills", "surplus", "failure", "started"
"""Attributes of a trial: number of the first attempt, kills so far, not wanted, why it failed, whether it began."""

FOREIGN = "foreign"
"""Attribute of a trial: whether its run folder held a run of another sweep when it began."""

IDENTITY = "identity"
"""Attribute of a sweep: what it searches; see `Space.identity`."""

_SECONDS_TO_BEGIN = 10.0
"""Time that the process which creates a sweep has to describe it."""


def begin_or_join(storage: RDBStorage, address: Address, name: str, space: Space) -> Study:
    """Return the sweep of this name. If it is new, the recipe's own values are its first trial.

    Raises:
        UserError: the storage holds another sweep of this name.
    """
    import optuna

    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    except optuna.exceptions.DuplicatedStudyError:
        return _join(storage, address, name, space)
    if first := first_values(space):
        study.enqueue_trial(first)
    study.set_user_attr(IDENTITY, space.identity())  # last: others wait for it
    return study


def first_values(space: Space) -> dict[str, Any]:
    """Return the values of the recipe; empty if one lies outside of the space."""
    start = space.start()
    inside = all(parameter.contains(start[parameter.name]) for parameter in space.parameters if parameter.name in start)
    return {name: stored(value) for name, value in start.items()} if inside else {}


def load(storage: RDBStorage, address: Address, name: str) -> Study:
    """Return the sweep of this name, to read it.

    Raises:
        UserError: there is none, or it is none of this program.
    """
    import optuna

    try:
        study = optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        where = address.shown()
        raise UserError(f"the storage {where} holds no sweep named {name!r}; check the name and --storage.") from None
    if IDENTITY not in study.user_attrs:
        raise UserError(f"{name!r} in {address.shown()} is not a sweep of this program; choose another --name.")
    return study


def _join(storage: RDBStorage, address: Address, name: str, space: Space) -> Study:
    import optuna

    study = optuna.load_study(storage=storage, study_name=name)
    deadline = time.monotonic() + _SECONDS_TO_BEGIN
    while (found := study.user_attrs.get(IDENTITY)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    wanted = json.loads(json.dumps(space.identity()))
    if not isinstance(found, dict):
        raise UserError(f"{name!r} in {address.shown()} is not a sweep of this program; choose another --name.")
    if found != wanted:
        raise UserError(
            f"{address.shown()} holds another sweep named {name!r} ({_difference(found, wanted)}); choose another "
            "--name, or restore the file."
        )
    return study


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return the first difference of two identities."""
    if found.get("recipe") != wanted["recipe"]:
        return f"recipe {shown(found.get('recipe'))} there, {wanted['recipe']} here"
    for part in ("fixed", "space"):
        there, here = found.get(part) or {}, wanted[part]
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                of = [f"{name} {shown(each[name])}" if name in each else f"no {name}" for each in (there, here)]
                return f"{part}: {of[0]} there, {of[1]} here"
    return "other settings"


def suggest(trial: Trial, parameters: tuple[Parameter, ...]) -> dict[str, Value]:
    """Return the values that a trial tries, by setting."""
    values: dict[str, Value] = {}
    for parameter in parameters:
        if parameter.applies(values):
            values[parameter.name] = parameter.suggest(trial)
    return values


def take_up_again(study: Study, trial: FrozenTrial, *, was_killed: bool = True) -> None:
    """Put a copy of an interrupted trial into the queue."""
    import optuna

    kills = trial.user_attrs.get(KILLS, 0) + was_killed
    if kills > MAX_KILLS:
        return
    attributes = {name: value for name, value in trial.user_attrs.items() if name != STARTED}
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**attributes, ORIGIN: origin(trial), KILLS: kills},
            system_attrs={name: value for name, value in trial.system_attrs.items() if name == "fixed_params"},
            intermediate_values=trial.intermediate_values,
        )
    )


def origin(trial: FrozenTrial) -> int:
    """Return the number of the first attempt at a trial."""
    return int(trial.user_attrs.get(ORIGIN, trial.number))


def wanted_trials(study: Study) -> list[FrozenTrial]:
    """Return the first attempts, without those that two workers began at once and that were one too many."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if ORIGIN not in trial.user_attrs and not trial.user_attrs.get(SURPLUS)
    ]


def run_path(folder: Path, number: int) -> Path:
    """Return the run folder of a trial."""
    return folder / f"trial{number:04d}"


def sampler_of(space: Space, number: int | None) -> BaseSampler:
    """Return what proposes values.

    number: of the trials so far, which makes the next proposal a function of the seed and the trials. None: the
        proposals of several workers must differ, so that they are random.
    """
    import optuna

    digest = hashlib.sha256(f"{space.seed} {number}".encode()).digest()
    seed = None if number is None else int.from_bytes(digest[:4], "little")
    if space.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def pruner_of(space: Space) -> BasePruner:
    """Return what ends trials early."""
    import optuna

    if space.pruner == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=space.warmup_epochs + 1)
    if space.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, space.warmup_epochs))
    return optuna.pruners.NopPruner()
