"""The memory of this machine, within the limit of its container."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Files with the memory limit of a container and what it uses, version 2 and 1."""

_MEMINFO = Path("/proc/meminfo")


def total_memory() -> int | None:
    """Return the memory in bytes; None if it is unknown."""
    known = [_number_in(limit) for limit, _ in CGROUPS]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((number for number in known if number is not None), default=None)


def available_memory() -> int | None:
    """Return the bytes that can be taken without swapping, as far as the system says; None if it is unknown.

    A container counts the files that it has read as used, although they are given back when memory is needed. What is
    left of its limit is therefore a lower bound.
    """
    known = [_available_in_meminfo()]
    for limit, usage in CGROUPS:
        most, used = _number_in(limit), _number_in(usage)
        known.append(None if most is None or used is None else max(0, most - used))
    found = [number for number in known if number is not None]
    return min(found) if found else total_memory()


def bytes_text(number: float) -> str:
    """Return a number of bytes as `0.6 MB`, `332 MB` or `1.24 GB`."""
    if number >= 1e9:
        return f"{number / 1e9:,.2f} GB"
    return f"{number / 1e6:,.0f} MB" if number >= 1e7 else f"{number / 1e6:,.1f} MB"


def _number_in(file: str) -> int | None:
    try:
        return int(Path(file).read_text(encoding="ascii"))
    except (OSError, ValueError):  # `max`: no limit
        return None


def _available_in_meminfo() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None
