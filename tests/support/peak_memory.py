"""The peak memory of a process that does one thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = r"""
import sys
from pathlib import Path
from cifar100.errors import UserError
from cifar100.process.memory import peak_memory
import torch, numpy
path = Path(sys.argv[1])
{imports}
try:
    {action}
    print("accepted")
except UserError as error:
    print("refused", str(error)[:300])
print((peak_memory() or 0) // 2**20)
"""


def peak_memory(imports: str, action: str, path: Path, *, limit_seconds: float = 60) -> tuple[str, int]:
    """Run `action`, an expression of `path`, in a process. Return what came of it, and its peak memory in MiB.

    The memory is 0 on Windows, which does not report it.
    """
    program = PROGRAM.format(imports=imports, action=action)
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=limit_seconds,
        check=False,
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *_, outcome, memory = done.stdout.splitlines()
    return outcome, int(memory)
