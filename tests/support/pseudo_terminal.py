"""Run a program in a terminal of a given size, and read what it shows."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9])")


def in_terminal(arguments: Sequence[str], folder: Path, *, columns: int = 80, **environment: str) -> str:
    """Return everything that `cifar100` with these arguments writes to a terminal, escape sequences included.

    Variables that are empty are removed from the environment.
    """
    if os.name != "posix":
        pytest.skip("this system has no pseudo-terminals")
    import fcntl
    import pty
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    variables = {**kept, "TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "cifar100", *arguments],
        cwd=folder,
        env={name: value for name, value in variables.items() if value},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    received = b""
    try:
        while part := os.read(master, 65536):
            received += part
    except OSError:  # Linux reports the end of the other side as an error
        pass
    finally:
        os.close(master)
        process.wait()
    return received.decode().replace("\r\n", "\n")


def without_escapes(shown: str) -> str:
    """Return what a terminal showed, without colours and cursor movements."""
    return ESCAPES.sub("", shown)
