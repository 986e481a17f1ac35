"""A lock that another process holds. On Windows and macOS that process imports this module."""

from __future__ import annotations

import time
from multiprocessing.synchronize import Event
from pathlib import Path

from cifar100.files.locks import holding


def hold(path: Path, seconds: float, started: Event, ended: Event) -> None:
    with holding(path, what="the folder"):
        started.set()
        time.sleep(seconds)
        ended.set()
