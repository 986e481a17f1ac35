"""The memory that this process may still take: the machine's, within the limits of its containers and of `ulimit -v`.

Everything here is bytes. What the system does not report counts as no limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux describes processes and control groups."""

NO_LIMIT = 2**60
"""Version 1 of the control groups reports a number near 2^63 for no limit."""


@dataclass(frozen=True)
class _Group:
    """A control group: containers, SLURM and systemd limit the memory of its processes together."""

    limit: int
    used: int
    """Without the part of the page cache that the kernel drops first."""


def total_memory() -> int | None:
    """Return the most that this process can ever have; None if that is unknown."""
    known = [group.limit for group in _groups()]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    address_space = _address_space_limit()
    return min([*known, *([] if address_space is None else [address_space])], default=None)


def available_memory() -> int | None:
    """Return what this process can still take before the system runs out or ends it; None if that is unknown."""
    known = [max(0, group.limit - group.used) for group in _groups()]
    fields = _fields(PROC / "meminfo")
    if "MemAvailable" in fields:
        known.append(fields["MemAvailable"])
    limit, taken = _address_space_limit(), _fields(PROC / "self" / "status").get("VmSize")
    if limit is not None and taken is not None:
        known.append(max(0, limit - taken))
    return min(known) if known else total_memory()


def bytes_text(number: float) -> str:
    """Return a number of bytes as `0.6 MB`, `332 MB` or `1.24 GB`."""
    if number >= 1e9:
        return f"{number / 1e9:,.2f} GB"
    return f"{number / 1e6:,.0f} MB" if number >= 1e7 else f"{number / 1e6:,.1f} MB"


def resident_memory() -> int | None:
    """Return the physical memory of this process now; None outside of Linux."""
    return _fields(PROC / "self" / "status").get("VmRSS")


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, where C's library can (glibc): else it counts as taken."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another library, or another system
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    """Let `peak_memory` begin again, on Linux."""
    with contextlib.suppress(OSError):
        (PROC / "self" / "clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int | None:
    """Return the most physical memory that this process has had, since `reset_peak` on Linux; None on Windows."""
    peak = _fields(PROC / "self" / "status").get("VmHWM")
    if peak is not None or sys.platform == "win32":
        return peak
    import resource  # POSIX only

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _address_space_limit() -> int | None:
    """Return the limit of `ulimit -v`; None if there is none."""
    if sys.platform == "win32":
        return None
    import resource  # POSIX only

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _groups() -> Iterator[_Group]:
    """Yield the control groups that limit this process: its own and those around it, of both versions."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CGROUPS / "memory" if controllers else CGROUPS
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        own = root / path.lstrip("/")
        for folder in [own, *own.parents]:
            limit, used = _number(folder / names[0]), _number(folder / names[1])
            if limit is not None and limit < NO_LIMIT:
                cache = _statistics(folder).get("total_inactive_file" if controllers else "inactive_file", 0)
                yield _Group(limit, max(0, (used or 0) - cache))
            if folder == root:
                break


def _statistics(group: Path) -> dict[str, int]:
    pairs = (line.split() for line in _lines(group / "memory.stat"))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _fields(file: Path) -> dict[str, int]:
    """Return the sizes in a file such as `/proc/meminfo`, which has lines like `MemTotal: 16 kB`."""
    found = {}
    for line in _lines(file):
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = 1024 * int(value.removesuffix(" kB"))
    return found


def _number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None  # `max`: no limit


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):  # not Linux, or a group whose folder is not visible here
        return []
