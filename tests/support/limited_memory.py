"""Run a program under a limit of its address space, beyond what its libraries take: those of CUDA take gigabytes."""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys

_LIBRARIES = """
import cifar100.training.train, torch
torch.ones(64, 64) @ torch.ones(64, 64)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmPeak")))
"""


@functools.cache
def _kilobytes_of_libraries() -> int:
    return int(subprocess.check_output([sys.executable, "-c", _LIBRARIES], env=_environment(), text=True))


def _environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **changes}


def run_limited(arguments: list[str], *, megabytes: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python; malloc fails when it takes more than that beyond its libraries. Linux only."""
    kilobytes = _kilobytes_of_libraries() + 1000 * megabytes
    limited = f"ulimit -v {kilobytes}; exec {shlex.join([sys.executable, *arguments])}"
    return subprocess.run(
        ["sh", "-c", limited], env=_environment(**environment), capture_output=True, text=True, check=False
    )
