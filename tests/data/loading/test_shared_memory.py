"""Too little shared memory for the workers is noticed before they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_folder import make_folder
from small_runs import small_overrides

from cifar100.data.loading import shared_memory
from cifar100.data.loading.shared_memory import affordable_workers, free_bytes


@pytest.mark.parametrize(
    ("free", "num_workers", "affordable"),
    [(100, 0, 0), (1000, 4, 4), (999, 4, 3), (400, 4, 1), (399, 4, 0), (0, 4, 0), (None, 4, 4)],
)
def test_as_many_workers_as_their_batches_fit(
    free: int | None,
    num_workers: int,
    affordable: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: free)
    assert affordable_workers(num_workers, batch_bytes=100) == affordable
    said = capsys.readouterr().err
    assert said.count("\n") == (affordable < num_workers)
    if affordable < num_workers:
        assert "--shm-size" in said
        assert (f"{affordable} of them" if affordable else "the training process itself") in said


def test_the_free_memory_is_that_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path / "absent")
    assert free_bytes() is None
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=3, f_frsize=4096), raising=False)
    assert free_bytes() == 3 * 4096
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert free_bytes() == 0


def can_mount() -> bool:
    try:
        command = "mount -t tmpfs -o size=64k none /dev/shm"
        return subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(("size", "is_checked"), [("64k", True), ("200k", False)])
def test_a_run_with_little_shared_memory(size: str, is_checked: bool, tmp_path: Path) -> None:
    """`is_checked` False: as if another program took the memory after the workers have started."""
    if not can_mount():
        pytest.skip("needs the right to mount")
    make_folder(tmp_path / "pets")
    given = {"data.root": tmp_path / "pets", "data.pipeline": "images", "data.num_workers": 2, "data.batch_size": 32}
    given = {**small_overrides(tmp_path / "pets"), **given, "data.source": "download", "training.max_epochs": 1}
    program = "import cifar100.data.loading.shared_memory as memory\n"
    if not is_checked:
        program += "memory.free_bytes = lambda: None\n"
    program += "from cifar100.__main__ import main\nif __name__ == '__main__':\n    main()\n"
    (tmp_path / "program.py").write_text(program)
    options = " ".join(f"--{key} '{value}'" for key, value in given.items())
    command = f"{sys.executable} program.py train --recipe quickstart {options}"
    process = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size={size} none /dev/shm && {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert process.returncode == 0, process.stderr
    assert ("will read the images" in process.stderr) == is_checked
    assert ("the shared memory of the workers is full" in process.stderr) != is_checked
