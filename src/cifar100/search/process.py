"""A training in a process of its own, which returns its memory when it ends, and ends with the one that started it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from cifar100.config import Config
from cifar100.errors import Stopped, UserError
from cifar100.process.parent import StopRequest, when_the_parent_ends
from cifar100.process.stopping import StopSignal, kept_from_children
from cifar100.runs.folder import RunFolder
from cifar100.terminal import unfailing_streams
from cifar100.training.preflight.main_guard import require_main_guard

SECONDS_TO_SAVE = 120.0
"""Time that a training has to save its state after SIGTERM; then it is killed."""


class TrainingProcess:
    """An ordinary run, trained in a process of its own. A run that exists already is resumed.

    Args:
        config: all settings; of a run that exists, they are those of its folder.
        run: its folder.
        is_quiet: whether the training prints nothing. What it would print is in its `training.log`.
    """

    def __init__(self, config: Config, run: RunFolder, *, is_quiet: bool = False) -> None:
        require_main_guard()
        context = get_context("spawn")
        self._receiver, sender = context.Pipe(duplex=False)
        self._run = run
        self._request = StopRequest(context)
        arguments = (config, run.path, is_quiet, sender, self._request)
        self._process = context.Process(target=_train, args=arguments, name=run.name)
        with kept_from_children():
            self._process.start()
        sender.close()

    def ends_within(self, seconds: float) -> bool:
        """Wait at most this long; return whether the training has ended."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def stop(self) -> None:
        """End the training in order: it saves its state. Waits until it has ended, and kills it if that takes long."""
        self._request.send(self._process)
        self._process.join(SECONDS_TO_SAVE)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def raise_failure(self) -> None:
        """Raise what ended the training early; nothing if it is finished. Call it when the training has ended.

        Raises:
            UserError: it failed; `Diverged` if the loss is not finite.
            Stopped: a signal ended it.
        """
        try:
            error = self._receiver.recv() if self._receiver.poll() else None
        except EOFError:
            error = None
        if error is not None:
            raise error
        status = self._process.exitcode
        if status is not None and status < 0:
            raise UserError(
                f"{self._run.path} was killed ({signal.Signals(-status).name}), perhaps because memory ran out; run "
                "the same command again to resume it."
            )
        if status:
            raise UserError(f"{self._run.path} failed with status {status}; the lines above say why.")


def train_in_a_process(config: Config, run: RunFolder) -> RunFolder:
    """Train a run, or resume it, in a process of its own, and return it.

    Raises:
        UserError: it failed; `Diverged` if the loss is not finite.
        Stopped: a signal ended it, after it has saved its state.
    """
    training = TrainingProcess(config, run)
    try:
        while not training.ends_within(3600.0):
            pass
    except BaseException:
        training.stop()
        raise
    training.raise_failure()
    return run


def _train(config: Config, path: Path, is_quiet: bool, sender: Connection, request: StopRequest) -> None:
    """Train in the new process. What ends it early is sent to the one that started it."""
    started = time.monotonic()  # before torch is loaded, which counts
    when_the_parent_ends(lambda: signal.raise_signal(signal.SIGTERM))
    request.heed()
    if is_quiet:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    with unfailing_streams():
        try:
            with StopSignal():
                from cifar100.devices import resolve
                from cifar100.results.report.for_trackers import write_tracked_report
                from cifar100.training.train import resume_run, start_run

                run = RunFolder(path)
                if run.config.is_file():
                    resume_run(run, write_report=write_tracked_report)
                else:
                    start_run(
                        resolve(config),
                        experiment=run.name,
                        below=path.parent,
                        started=started,
                        write_report=write_tracked_report,
                    )
        except (UserError, Stopped) as error:
            sender.send(error)
            sys.exit(1)
        except Exception as error:
            traceback.print_exc()
            sender.send(UserError(f"{path} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"))
            sys.exit(1)
