"""The memory of the machine and of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar100.process import memory
from cifar100.process.memory import available_memory, bytes_text, total_memory


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, usage = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(memory, "CGROUPS", ((str(limit), str(usage)), (str(tmp_path / "a"), str(tmp_path / "b"))))
    limit.write_text("max\n")
    usage.write_text("400000\n")
    whole, available = total_memory(), available_memory()
    limit.write_text("1000000\n")
    assert total_memory() == 1_000_000
    assert available_memory() == 600_000
    assert whole is None or whole > 1_000_000
    assert available is None or available > 600_000


def test_available_memory_is_what_linux_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUPS", ())
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    assert available_memory() == total_memory()  # another system
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:  40 kB\n")
    assert available_memory() == 40 * 1024


@pytest.mark.parametrize(("number", "text"), [(184_320, "0.2 MB"), (153_600_000, "154 MB"), (7_526_400_000, "7.53 GB")])
def test_bytes_are_shown_in_decimal_units(number: int, text: str) -> None:
    assert bytes_text(number) == text
