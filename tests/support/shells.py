"""Shells of POSIX systems; tests that need one are skipped without it."""

from __future__ import annotations

import os
import shutil

import pytest


def shell(name: str = "bash") -> str:
    """The path of a shell.

    On Windows `bash` may be that of WSL, which has other paths and does not get the environment.
    """
    found = shutil.which(name) if os.name == "posix" else None
    if found is None:
        pytest.skip(f"needs {name} on a POSIX system")
    return found
