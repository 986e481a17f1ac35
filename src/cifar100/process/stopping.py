"""How signals end the program: Ctrl-C, SIGTERM, a closed terminal, and SLURM's SIGUSR1.

Each becomes the exception `Stopped` in the main thread. Inside an import or a finalizer the exception would be
swallowed or printed, so it waits for their end. This module is at work before torch is loaded, so it imports nothing
heavy.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

from cifar100.errors import Stopped

REQUEUE_SIGNAL = getattr(signal, "SIGUSR1", None)
"""What `sbatch --signal=USR1@90` sends before the time limit. Windows has no such signal."""

SECONDS_OF_ONE_STOP = 1.0
"""Further signals within this time belong to the first: a terminal and a launcher often both send one."""

_SECONDS_TO_WAIT = 0.02
"""Time until the next try, if a signal arrives inside an import or a finalizer."""


def stop_signals() -> list[int]:
    """Return the signals that end the program in order."""
    requeue = [REQUEUE_SIGNAL] if REQUEUE_SIGNAL is not None and "SLURM_JOB_ID" in os.environ else []
    names = ("SIGHUP", "SIGBREAK")  # a closed terminal; Ctrl-Break, of Windows
    others = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [signal.SIGINT, signal.SIGTERM, *others, *requeue]


class StopSignal:
    """Turns signals into `Stopped`. Training defers the first one to the end of a step; a second one ends it at once.

    A context manager that sets the handlers and restores the earlier ones; it may be nested. Signals that are ignored,
    as under nohup, stay ignored. Does nothing outside of the main thread.
    """

    _nested: ClassVar[list[StopSignal]] = []

    def __init__(self) -> None:
        self.received: int | None = None
        """The signal that was deferred."""
        self.deferring = False
        self._before: dict[int, Any] = {}
        self._depth = 0
        self._raised: int | None = None
        self._times: list[float] = []

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in stop_signals()}
            self._depth = len(_frames(sys._getframe(1)))
            self._times = self._nested[-1]._times if self._nested else []
            self._nested.append(self)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._send_unraisable_again
            self.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._before:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            sys.unraisablehook = self._hook
            self._nested.pop()
        late = self.received or self._raised
        if kind is None and late is not None:  # it came after the last step, or a library has swallowed it
            raise Stopped("", late)

    def install(self) -> None:
        """Set the handlers. Call it again after Lightning has set its own, which do not wait for the end of a step."""
        for number, before in self._before.items():
            if before is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer a signal to the end of the block."""
        self.deferring = True
        yield
        self.deferring = False
        if self.received is not None:
            number, self.received = self.received, None
            self._raised = number
            raise Stopped("", number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.deferring and self.received is None:
            self.received = number
            self._times.append(time.monotonic())
        elif not self.deferring and self._times and time.monotonic() - self._times[-1] < SECONDS_OF_ONE_STOP:
            return
        elif _is_fragile(_frames(frame)[: -self._depth]):
            _send_again(number)
        else:
            self._raised = number
            self._times.append(time.monotonic())
            raise Stopped("", number)

    def _send_unraisable_again(self, failure: Any) -> None:
        """Send a signal again whose exception could not be raised; Python would only print it."""
        if isinstance(failure.exc_value, Stopped):
            self._times.clear()
            _send_again(failure.exc_value.signum)
        else:
            self._hook(failure)


def take_over_again() -> None:
    """Set the handlers of the innermost `StopSignal` again, after Lightning has set its own.

    Lightning's handler of SIGTERM broadcasts to the other processes, which hangs unless all of them got the signal.
    """
    if StopSignal._nested:
        StopSignal._nested[-1].install()


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Block the signals that a terminal or SLURM sends to all processes, in those that the block starts.

    This process ends its children in order. SIGTERM gets through to them, because that may be how. On Windows they
    ignore the signals themselves; see `StopRequest`.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _frames(frame: FrameType | None) -> list[FrameType]:
    """Return a frame and those that called it, innermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _is_fragile(frames: list[FrameType]) -> bool:
    """Return whether an exception would be swallowed or leave a half-loaded module: in a finalizer or an import."""
    codes = [frame.f_code for frame in frames]
    return any(code.co_name == "__del__" or code.co_filename.startswith("<frozen importlib") for code in codes)


def _send_again(number: int) -> None:
    timer = threading.Timer(_SECONDS_TO_WAIT, _send_to_main_thread, (number,))
    timer.daemon = True
    timer.start()


def _send_to_main_thread(number: int) -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
