"""Describe this machine and the data for `info`, logs and results: versions, devices, the data folder."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from cifar100 import __version__
from cifar100.data.dataset_info import IMAGE_SIDE
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.process.processors import processor_name, usable_processors

PACKAGES = ("torch", "lightning", "torchmetrics", "albumentations", "opencv-python-headless", "numpy", "pillow")


def describe_versions() -> dict[str, str]:
    """Return the version of each package by name, this program's and Python's first."""
    versions = {"cifar100": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def describe_origin() -> dict[str, str]:
    """Return what identifies code and machine: the git commit of the working directory, versions, devices."""
    facts = {f"version.{name}": version for name, version in describe_versions().items()}
    facts |= {f"device.{name}": device for name, device in describe_devices().items()}
    commit = git_commit()
    return facts if commit is None else {"git_commit": commit, **facts}


def git_commit() -> str | None:
    """Return the commit of the working directory, with `-dirty` if files differ from it; None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def describe_devices() -> dict[str, str]:
    """Return what each accelerator is on this machine, by name: `cpu`, `cuda`, `mps`."""
    import torch

    from cifar100.devices import ACCELERATORS, find_failure

    processors, threads = _count(usable_processors(), "processor"), _count(torch.get_num_threads(), "thread")
    devices = {"cpu": f"{processor_name()}, {processors}, {threads}"}
    for kind, accelerator in ACCELERATORS.items():
        count = accelerator.count()
        problem = find_failure(kind) if count else ""
        names = "" if problem else ", ".join(map(accelerator.name, range(count)))
        devices[kind] = f"unusable: {problem}" if problem else names or "none"
    return devices


def describe_data(root: Path) -> dict[str, str]:
    """Return facts about a data folder, or that it is missing or damaged."""
    sizes = DataFolder(root).prepared_sizes()
    folder = DataFolder(root, *([] if IMAGE_SIDE in sizes else sizes[:1]))
    if not sizes:
        return {str(root): f"not prepared; run: cifar100 prepare --root {as_argument(root)}"}
    try:
        info = folder.info()
    except UserError as error:
        return {str(root): str(error)}
    validation = f"{info.num_validation:,} validation, " if info.num_validation else ""
    return {
        str(root): info.describe(),
        "images": f"{info.num_train - info.num_validation:,} training, {validation}{info.num_test:,} test, "
        f"{info.num_classes:,} classes",
        "pixels": ", ".join(f"{size}x{size}" for size in sizes),
        "mean": ", ".join(f"{value:.7f}" for value in info.mean),
        "std": ", ".join(f"{value:.7f}" for value in info.std),
        **{f"sha256 {split}": digest for split, digest in info.sha256.items()},
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"
