"""Watch the process that has started this one: end when it has ended, even if it was killed, or when it asks for it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from cifar100.process.stopping import stop_signals

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event


def when_the_parent_ends(action: Callable[[], object]) -> None:
    """Call `action` in a thread when the process that has started this one with `multiprocessing` has ended."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        action()

    threading.Thread(target=watch, daemon=True, name="end with the parent").start()


class StopRequest:
    """Ends a process of `multiprocessing` in order, by SIGTERM. Pass it to the process among its arguments.

    Windows has no signals between processes: `terminate` ends a process at once, and Ctrl-C reaches all processes of a
    console. There the process ignores Ctrl-C, and a thread in it waits for the request and raises SIGTERM.
    """

    def __init__(self, context: BaseContext) -> None:
        self._event: Event | None = context.Event() if sys.platform == "win32" else None

    def send(self, process: BaseProcess) -> None:
        """Ask a process to end. On Windows it reaches all processes that have got this request."""
        if self._event is None:
            process.terminate()
        else:
            self._event.set()

    def heed(self) -> None:
        """Heed the request from now on. Call it in the process, before it handles signals."""
        event = self._event
        if event is None:
            return
        for number in set(stop_signals()) - {signal.SIGTERM}:
            signal.signal(number, signal.SIG_IGN)

        def watch() -> None:
            event.wait()
            signal.raise_signal(signal.SIGTERM)

        threading.Thread(target=watch, daemon=True, name="end when asked").start()
