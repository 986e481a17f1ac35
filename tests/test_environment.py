"""What `info` and the logs report about this machine and its data."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import torch
from small_folder import make_folder

from cifar100 import __version__, devices, environment
from cifar100.environment import (
    describe_data,
    describe_devices,
    describe_origin,
    describe_versions,
    git_commit,
)
from cifar100.process.processors import processor_name


def test_versions_are_those_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("torch", "no-such-package"))
    versions = describe_versions()
    assert list(versions) == ["cifar100", "python", "torch", "no-such-package"]
    assert versions["cifar100"] == __version__
    assert versions["torch"] == torch.__version__.split("+")[0] or versions["torch"] == torch.__version__
    assert versions["no-such-package"] == "not installed"


def test_devices_that_are_missing_present_and_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(devices, "find_failure", lambda accelerator: "")
    monkeypatch.setattr(environment, "usable_processors", lambda: 1)
    described = describe_devices()
    assert described["cuda"] == "GPU 0, GPU 1"
    assert described["mps"] == "none"
    assert described["cpu"].startswith(f"{processor_name()}, 1 processor, ")
    monkeypatch.setattr(devices, "find_failure", lambda accelerator: "CUDA error: out of order")
    assert describe_devices()["cuda"] == "unusable: CUDA error: out of order"


def test_data_that_are_prepared_missing_and_damaged(tmp_path: Path) -> None:
    info = make_folder(tmp_path / "data")
    described = describe_data(tmp_path / "data")
    assert described[str(tmp_path / "data")] == "small, custom data, 5 classes"
    assert described["images"] == "60 training, 10 test, 5 classes"
    assert described["std"] == ", ".join(f"{value:.7f}" for value in info.std)
    assert "not prepared; run: " in describe_data(tmp_path)[str(tmp_path)]
    (tmp_path / "data" / "dataset.json").write_text("{")
    assert "cannot be read" in describe_data(tmp_path / "data")[str(tmp_path / "data")]


def test_the_commit_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
    assert "git_commit" not in describe_origin()
    (tmp_path / "code.py").write_text("1")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "code.py"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = git_commit()
    assert commit is not None
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    (tmp_path / "code.py").write_text("2")
    origin = describe_origin()
    assert origin["git_commit"] == f"{commit}-dirty"
    assert origin["version.torch"] == describe_versions()["torch"]
    assert origin["device.cpu"].startswith(processor_name())
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None
