"""What processor this machine has, and how much of it may be used."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor_name() -> str:
    """Return the processor's model name, or its architecture if the system does not report a name."""
    return _described_as("model name") or platform.processor() or platform.machine()


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_bf16_instructions() -> bool:
    """Return whether the processor itself multiplies bfloat16 numbers (AVX-512 BF16 or AMX), as far as Linux says."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_described_as("flags").split())


def _described_as(name: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo; empty where that is missing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")
