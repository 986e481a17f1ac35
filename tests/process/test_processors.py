from __future__ import annotations

import os
from pathlib import Path

import pytest

from cifar100.process.processors import has_bf16_instructions, processor_name, usable_processors

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 3 GHz
flags\t\t: fpu avx512f {flag}

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""


def cpuinfo(monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    def read_text(path: Path, **options: str) -> str:
        assert path == Path("/proc/cpuinfo")
        if content is None:
            raise FileNotFoundError
        return content

    monkeypatch.setattr(Path, "read_text", read_text)


def test_processors_follow_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 4}, raising=False)
    assert usable_processors() == 3


@pytest.mark.parametrize(
    ("flag", "expected"), [("amx_bf16", True), ("avx512_bf16", True), ("avx512_bf16x", False), ("", False)]
)
def test_bfloat16_instructions_are_those_that_the_processor_lists(
    flag: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo(monkeypatch, CPUINFO.format(flag=flag))
    assert has_bf16_instructions() is expected
    assert processor_name() == "Some CPU @ 3 GHz"


def test_other_systems_have_a_name_and_no_known_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo(monkeypatch, None)
    assert has_bf16_instructions() is False
    assert processor_name()
