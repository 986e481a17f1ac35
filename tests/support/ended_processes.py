"""What processes that were killed leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from cifar100.files.atomic import partial_path


def ended_process() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def partial_of_ended_process(path: Path) -> Path:
    """The name under which a process that has ended was writing `path`."""
    with mock.patch.object(os, "getpid", ended_process):
        return partial_path(path)
