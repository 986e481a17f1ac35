"""Watch the process that has started this one, and end when it has ended, even if it was killed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from multiprocessing import parent_process


def when_the_parent_ends(action: Callable[[], object]) -> None:
    """Call `action` in a thread when the process that has started this one with `multiprocessing` has ended."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        action()

    threading.Thread(target=watch, daemon=True, name="end with the parent").start()
