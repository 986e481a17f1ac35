"""Data that many tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import cifar100  # noqa: F401  # sets what torch reads when it is loaded

os.environ.pop("UV_RUN_RECURSION_DEPTH", None)  # commands that are printed begin with `cifar100`, not `uv run cifar100`

# A pytest that a script starts in the background ignores Ctrl-C, and so would every program that it starts.
for number, handler in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    if hasattr(signal, number) and signal.getsignal(getattr(signal, number)) is signal.SIG_IGN:
        signal.signal(getattr(signal, number), handler)

if "PYTEST_XDIST_WORKER" in os.environ:  # the processes of `pytest -n 2` share the processors
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gpu` where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a prepared Shapes-100 with 600 training and 200 test images; not to be changed."""
    from cifar100.data.folder.release_images import prepare_release
    from cifar100.data.sources.shapes100 import draw

    root = tmp_path_factory.mktemp("tiny_data")
    prepare_release(draw(train_per_class=6, test_per_class=2), root)
    return root


@pytest.fixture(scope="session")
def real_source() -> Path:
    """Folder or archive of the official CIFAR-100, named by CIFAR100_SOURCE."""
    source = os.environ.get("CIFAR100_SOURCE")
    if not source:
        pytest.skip("set CIFAR100_SOURCE to a folder or archive of the official CIFAR-100")
    return Path(source).resolve()
