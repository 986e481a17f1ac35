"""A logger that talks to an experiment tracker in a thread of its own, so that training never waits for the network.

The service behind it may block or raise: a failure is raised by the next call of the logger, where
`loggers.without_failures` turns it into one line. The end of the run waits a limited time.
"""

from __future__ import annotations

import queue
import threading
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.files.schema import map_of, read_as, text
from cifar100.runs.folder import LOGS, RunFolder
from cifar100.terminal import warn

MAX_WAITING = 20_000
"""Calls that may wait for the service; a run that logs every 20 steps needs hours to get there."""

SECONDS_AT_THE_END = 45.0
"""Longest wait for the service after the last call."""

SECONDS_AFTER_A_STOP = 10.0
"""The same after a signal: the scheduler may kill the process soon."""

Ending = Literal["finished", "stopped", "failed"]


class Service(Protocol):
    """One run of an experiment tracker. Every method may block or raise anything."""

    def load(self) -> None:
        """Import the package; in the main thread, because two threads that import can disturb each other."""

    def open(self, facts: Mapping[str, str]) -> None:
        """Start the run, or continue it if the run folder names one. facts: about the code and the machine."""

    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Log the settings of the run."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log values of one optimizer step."""

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Log the final figures."""

    def log_files(self, files: Sequence[Path]) -> None:
        """Keep copies of files."""

    def close(self, ending: Ending) -> str:
        """End the run; return a line for the user, or nothing."""


class Tracker(Logger):
    """A logger on rank 0 that hands all calls to a service in another thread, in their order.

    Args:
        title: name of the service, for messages.
        service: the service.
        facts: about the code and the machine.
    """

    def __init__(self, title: str, service: Service, facts: Callable[[], Mapping[str, str]]) -> None:
        super().__init__()
        self.title = title
        self._service = service
        self._facts = facts
        self._calls: queue.Queue[Callable[[], Any] | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._last_words = ""

    @property
    def name(self) -> str:
        """Name of the service."""
        return self.title

    @property
    def version(self) -> None:
        """None: the service numbers its runs itself."""

    @property
    @rank_zero_only
    def experiment(self) -> None:
        """Start the thread, which opens the run."""
        if self._thread is None:
            self._service.load()
            self._thread = threading.Thread(target=self._work, name=self.title, daemon=True)
            self._thread.start()
            self._hand_over(partial(self._service.open, self._facts()))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values of one optimizer step."""
        self._hand_over(partial(self._service.log_metrics, dict(metrics), step or 0))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Ignore those that Lightning finds; see `log_settings`."""

    @rank_zero_only
    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Log the settings of the run."""
        self._hand_over(partial(self._service.log_settings, dict(settings)))

    @rank_zero_only
    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Log the final figures."""
        self._hand_over(partial(self._service.log_figures, dict(figures)))

    @rank_zero_only
    def log_files(self, files: Sequence[Path]) -> None:
        """Keep copies of files."""
        self._hand_over(partial(self._service.log_files, list(files)))

    @rank_zero_only
    def conclude(self, ending: Ending) -> None:
        """End the run and wait for the service, for a limited time.

        Raises:
            TimeoutError: the service has not taken everything by then.
        """
        if self._thread is None:
            return
        seconds = SECONDS_AFTER_A_STOP if ending == "stopped" else SECONDS_AT_THE_END
        self._hand_over(partial(self._close, ending))
        self._hand_over(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError(f"no answer for {seconds:.0f} s, so its records are incomplete")
        self._raise_failure()
        if self._last_words:
            warn(self._last_words)

    def _close(self, ending: Ending) -> None:
        self._last_words = self._service.close(ending)

    def _hand_over(self, call: Callable[[], Any] | None) -> None:
        """Queue a call.

        Raises:
            Exception: that of an earlier call.
        """
        self._raise_failure()
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            raise TimeoutError(f"{MAX_WAITING:,} records wait for an answer") from None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:  # a service may raise anything
                self._failure = error
                return


def shown_name(run: RunFolder) -> str:
    """Return the name of a run in a service: its path below `logs/`, which tells apart the `seed0` of two commands."""
    return run.path.relative_to(LOGS).as_posix() if run.path.is_relative_to(LOGS) else run.name


def tracked_run(run: RunFolder, service: str) -> str | None:
    """Return the identity of a run in a service; None if it has none yet, or if the file is damaged."""
    try:
        known: dict[str, str] = read_as(run.trackers, map_of(text), limit=10_000)
    except (OSError, ValueError):
        return None
    return known.get(service)


def remember_tracked_run(run: RunFolder, service: str, identity: str) -> None:
    """Record the identity of a run in a service, so that a resumed run continues it."""
    try:
        known: dict[str, str] = read_as(run.trackers, map_of(text), limit=10_000)
    except (OSError, ValueError):
        known = {}
    try:
        write_json(known | {service: identity}, run.trackers)
    except UserError as error:  # a resumed run begins another one there
        warn(str(error))
