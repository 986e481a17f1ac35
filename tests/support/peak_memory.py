"""The peak memory of a process that does one thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = r"""
import re, sys
from pathlib import Path
from cifar100.errors import UserError
import torch, numpy
path = Path(sys.argv[1])
{imports}
try:
    {action}
    print("accepted")
except UserError as error:
    print("refused", str(error)[:300])
status = Path("/proc/self/status").read_text()  # unlike ru_maxrss, not inherited from the process that started this
print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024)
"""


def peak_memory(imports: str, action: str, path: Path, *, limit_seconds: float = 60) -> tuple[str, int]:
    """Run `action`, an expression of `path`, in a process. Return what came of it, and its peak memory in MiB."""
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
