"""One worker of a sweep: takes trials, trains each as an ordinary run in a process of its own, and reports its epochs.

The worker only watches the run's `metrics.json`. So a trial may itself use several processes, and a run looks the same
with and without a sweep.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar100.config import get
from cifar100.errors import Diverged, UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import best_epoch, read_epochs
from cifar100.runs.status import FINISHED, read_status, runs_here
from cifar100.search.process import TrainingProcess
from cifar100.search.sweep.results import best_entry, short, write_best
from cifar100.search.sweep.space import Space
from cifar100.search.sweep.storage import Address, opened
from cifar100.search.sweep.study import (
    FAILURE,
    FOREIGN,
    ORIGIN,
    STARTED,
    SURPLUS,
    begin_or_join,
    origin,
    pruner_of,
    run_path,
    sampler_of,
    suggest,
    take_up_again,
    wanted_trials,
)
from cifar100.settings import load_complete_config
from cifar100.terminal import say

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

    from cifar100.config import Config

HEARTBEAT_SECONDS = 20
"""Time between two heartbeats. A trial that sends none for three times as long is taken over by another worker."""

SECONDS_BETWEEN_LOOKS = 0.5
"""At a training."""

_MAY_DIFFER = ("data.batch_size", "training.devices", "training.precision")
"""Settings that a run may have otherwise than its trial asks: `training.devices auto` divides the batch."""

MAX_FAILURES = 3
"""Failures in a row, without any finished trial, after which a sweep ends: they have one cause."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a worker works on."""

    name: str
    address: Address
    space: Space
    minutes: float | None
    """Time from now after which no trial begins; None: no limit."""

    is_alone: bool = True
    """Whether it is the only one, so that its proposals may follow from the seed."""

    heartbeat_seconds: int = HEARTBEAT_SECONDS


class _TrialError(Exception):
    """A trial failed; the sweep continues."""


class _SurplusError(Exception):
    """Two workers began the last trial at once, and this one is not wanted."""


class _SweepError(UserError):
    """What would make every further trial fail."""


def work(assignment: Assignment) -> None:
    """Train trials until there are enough or the time is over; at the end wait for those of other workers.

    A trial whose worker was killed is taken up again, from the checkpoint of its run if there is one.

    Raises:
        UserError: the storage cannot be used, or holds another sweep of this name; or the first trials all fail.
        Stopped: a signal ended it. The running trial has saved its state and waits to be taken up again.
    """
    seconds = assignment.heartbeat_seconds
    with opened(assignment.address, heartbeat_seconds=seconds, when_stale=take_up_again) as storage:
        _Worker(assignment, storage).work()


class _Worker:
    def __init__(self, assignment: Assignment, storage: RDBStorage) -> None:
        self._assignment = assignment
        self._space = assignment.space
        self._folder = assignment.address.folder
        self._deadline = None if assignment.minutes is None else time.monotonic() + 60 * assignment.minutes
        self._failures = 0
        self._first_seen: dict[int, float] = {}
        self._waits_for: set[int] = set()
        self._study = begin_or_join(storage, assignment.address, assignment.name, self._space)
        self._study.pruner = pruner_of(self._space)

    def work(self) -> None:
        while self._deadline is None or time.monotonic() < self._deadline:
            trials = self._study.get_trials(deepcopy=False)
            if self._has_one_to_begin(trials):
                number = len(trials) if self._assignment.is_alone else None
                self._study.sampler = sampler_of(self._space, number)
                self._study.optimize(self._objective, n_trials=1, catch=(_TrialError, _SurplusError))
                write_best(self._study, self._folder)
            elif running := [trial for trial in trials if trial.state.name == "RUNNING"]:
                self._wait_for(running)
            else:
                return

    def _has_one_to_begin(self, trials: list[FrozenTrial]) -> bool:
        if any(trial.state.name == "WAITING" for trial in trials):
            return True
        return self._space.trials is None or len(wanted_trials(self._study)) < self._space.trials

    def _wait_for(self, running: list[FrozenTrial]) -> None:
        """Wait a moment for trials of other workers; take over those that send no heartbeat."""
        import optuna

        numbers = {origin(trial) for trial in running}
        if numbers - self._waits_for:
            self._waits_for |= numbers
            say(f"waiting for other workers: trial {', '.join(map(str, sorted(numbers)))}")
        now, patience = time.monotonic(), 3 * self._assignment.heartbeat_seconds
        for trial in running:  # killed before its first heartbeat, which Optuna does not notice
            since = self._first_seen.setdefault(trial.number, now)
            if STARTED not in trial.user_attrs and now - since > patience:
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                take_up_again(self._study, trial)
        optuna.storages.fail_stale_trials(self._study)
        time.sleep(min(1.0, self._assignment.heartbeat_seconds))

    def _objective(self, trial: Trial) -> float:
        """Train the run of a trial, and return its highest validation accuracy."""
        import optuna

        self._refuse_surplus(trial)
        trial.set_user_attr(STARTED, True)
        number = origin(self._frozen(trial))
        run = RunFolder(run_path(self._folder, number))
        try:
            self._refuse_foreign(trial, run)
            values = suggest(trial, self._space.parameters)
            config = self._space.config(values)
            self._refuse_other_settings(config, (*self._space.fixed, *values), run)
            self._train(config, run, trial)
            accuracy = _best_accuracy(run)
        except optuna.TrialPruned:
            say(f"trial {number:>3}  pruned")
            raise
        except (KeyboardInterrupt, _SweepError):
            take_up_again(self._study, self._frozen(trial), was_killed=False)
            raise
        except UserError as error:
            self._fail(trial, number, error)
            raise _TrialError from error
        shown_values = "  ".join(f"{name.partition('.')[2]} {short(value)}" for name, value in values.items())
        say(f"trial {number:>3}  {accuracy:7.2%}  {shown_values}")
        return accuracy

    def _refuse_surplus(self, trial: Trial) -> None:
        wanted = self._space.trials
        if wanted is None or ORIGIN in trial.user_attrs:
            return
        if sum(other.number < trial.number for other in wanted_trials(self._study)) >= wanted:
            trial.set_user_attr(SURPLUS, True)
            raise _SurplusError

    def _refuse_foreign(self, trial: Trial, run: RunFolder) -> None:
        """Refuse a run that was there before the trial. The copy of a trial that was refused looks again.

        Raises:
            _SweepError: the folder holds such a run.
        """
        if ORIGIN in trial.user_attrs and not trial.user_attrs.get(FOREIGN):
            return  # an earlier attempt has created it
        is_foreign = run.config.is_file()
        trial.set_user_attr(FOREIGN, is_foreign)
        if is_foreign:
            raise self._foreign(run)

    def _refuse_other_settings(self, config: Config, given: Iterable[str], run: RunFolder) -> None:
        """Refuse a run with other settings than its trial. The first attempt may have been on another machine.

        Raises:
            _SweepError: the folder holds such a run, or its settings cannot be read.
        """
        if not run.config.is_file():
            return
        try:
            there = load_complete_config(run.config)
        except UserError as error:
            raise _SweepError(str(error)) from error
        scaled = ("optimization.learning_rate",) if config.data.batch_size == "auto" else ()
        for name in given:
            wanted = get(config, name)
            is_decided_later = name in (*_MAY_DIFFER, *scaled) or wanted in ("auto", None)
            if not is_decided_later and wanted != get(there, name):
                raise self._foreign(run)

    def _foreign(self, run: RunFolder) -> _SweepError:
        return _SweepError(
            f"{run.path} belongs to another sweep; rename or remove {self._folder}, or choose another --name."
        )

    def _train(self, config: Config, run: RunFolder, trial: Trial) -> None:
        """Train, or resume, and report the epochs; stop the training if the trial is pruned.

        Raises:
            TrialPruned: it is pruned.
            UserError: the training failed.
        """
        from optuna import TrialPruned

        while runs_here(run):  # the training of a killed worker ends a moment after it
            time.sleep(SECONDS_BETWEEN_LOOKS)
        reported = set(self._frozen(trial).intermediate_values)
        if run.config.is_file() and read_status(run).get("status") == FINISHED:
            _report(run, trial, reported)  # its worker was killed after the training, perhaps before its last look
            return
        training = TrainingProcess(config, run, is_quiet=True)
        try:
            while not training.ends_within(SECONDS_BETWEEN_LOOKS):
                if _report(run, trial, reported) and trial.should_prune():
                    raise TrialPruned
        finally:
            training.stop()
        training.raise_failure()
        _report(run, trial, reported)

    def _fail(self, trial: Trial, number: int, error: UserError) -> None:
        """Record why a trial failed; end the sweep if nothing but failures comes.

        Raises:
            _SweepError: the first trials all failed.
        """
        has_diverged = isinstance(error, Diverged)
        trial.set_user_attr(FAILURE, str(error)[:500])
        say(f"trial {number:>3}  {'diverged' if has_diverged else f'failed: {error}'}")
        self._failures += not has_diverged
        if self._failures >= MAX_FAILURES and best_entry(self._study, self._folder) is None:
            raise _SweepError(f"the first trials all failed, so the sweep ends; the last one: {error}")

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[trial.number]


def _report(run: RunFolder, trial: Trial, reported: set[int]) -> bool:
    """Report the validation accuracies of new epochs; return whether there were any."""
    if not run.metrics.is_file():
        return False
    accuracies = {
        int(epoch["epoch"]): epoch["val/accuracy"] for epoch in read_epochs(run.metrics) if "val/accuracy" in epoch
    }
    new = accuracies.keys() - reported
    for number in sorted(new):
        trial.report(accuracies[number], number)
    reported |= new
    return bool(new)


def _best_accuracy(run: RunFolder) -> float:
    best = best_epoch(read_epochs(run.metrics))
    if best is None:
        raise _SweepError(
            f"{run.path} has no validation accuracy, which is what a sweep compares; hold out images, as with fixed: "
            "{data.validation_fraction: 0.1}."
        )
    return best["val/accuracy"]
