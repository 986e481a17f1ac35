from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from cifar100.process import memory
from cifar100.process.memory import available_memory, bytes_text, peak_memory, reset_peak, resident_memory, total_memory

GIGABYTE = 2**30

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GB free whose files can be written."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_address_space_limit", lambda: None)
    write(tmp_path, "proc/meminfo", f"MemTotal: 99 kB\nMemAvailable: {8 * GIGABYTE // 1024} kB\nHugePages_Total: 0\n")
    return tmp_path


def write(machine: Path, name: str, text: str) -> None:
    (machine / name).parent.mkdir(parents=True, exist_ok=True)
    (machine / name).write_text(text)


def test_the_group_of_the_process_and_those_around_it_count(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/slurm/job_7\n")
    write(machine, "cgroup/slurm/job_7/memory.max", "max\n")
    write(machine, "cgroup/slurm/memory.max", f"{4 * GIGABYTE}\n")
    write(machine, "cgroup/slurm/memory.current", f"{3 * GIGABYTE}\n")
    write(machine, "cgroup/slurm/memory.stat", f"anon 5\ninactive_file {GIGABYTE}\n")
    assert total_memory() == 4 * GIGABYTE
    assert available_memory() == 2 * GIGABYTE  # the page cache makes room


def test_groups_of_version_1_count(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "5:cpu:/a\n4:memory:/docker/x\n")
    write(machine, "cgroup/memory/memory.limit_in_bytes", f"{2 * GIGABYTE}\n")  # all that a container sees
    write(machine, "cgroup/memory/memory.usage_in_bytes", f"{GIGABYTE}\n")
    assert (total_memory(), available_memory()) == (2 * GIGABYTE, GIGABYTE)
    write(machine, "cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert available_memory() == 8 * GIGABYTE


def test_a_machine_without_limits_has_what_is_available(machine: Path) -> None:
    assert available_memory() == 8 * GIGABYTE


def test_the_limit_of_the_address_space_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_address_space_limit", lambda: 3 * GIGABYTE)
    write(machine, "proc/self/status", f"VmSize: {GIGABYTE // 1024} kB\n")
    assert (total_memory(), available_memory()) == (3 * GIGABYTE, 2 * GIGABYTE)


def test_ulimit_is_read() -> None:
    program = "from cifar100.process.memory import total_memory; print(total_memory())"
    limited = f'ulimit -v 2000000; exec "{sys.executable}" -c "{program}"'
    found = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, check=True)
    assert int(found.stdout) == 2_000_000 * 1024


def touched(megabytes: int) -> mmap.mmap:
    """Return memory of its own pages: malloc may return some that is resident already."""
    block = mmap.mmap(-1, megabytes * 2**20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for start in range(0, len(block), 4096):
        block[start] = 1
    return block


def test_the_peak_is_that_since_the_reset() -> None:
    touched(200).close()
    reset_peak()
    before = peak_memory()
    assert before is not None
    assert resident_memory() is not None
    block = touched(100)
    after = peak_memory()
    block.close()
    assert after is not None
    assert after - before == pytest.approx(100 * 2**20, rel=0.2)


@pytest.mark.parametrize(("number", "text"), [(184_320, "0.2 MB"), (153_600_000, "154 MB"), (7_526_400_000, "7.53 GB")])
def test_bytes_are_shown_in_decimal_units(number: int, text: str) -> None:
    assert bytes_text(number) == text
