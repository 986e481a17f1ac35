"""Data that many tests share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import cifar100  # noqa: F401  # sets what torch reads when it is loaded

os.environ.pop("UV_RUN_RECURSION_DEPTH", None)  # commands that are printed begin with `cifar100`, not `uv run cifar100`

# Containers often set it. Each of the hundred processes that the tests start would then compile torch and Lightning.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A pytest that a script starts in the background ignores Ctrl-C, and so would every program that it starts.
for number, handler in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    if hasattr(signal, number) and signal.getsignal(getattr(signal, number)) is signal.SIG_IGN:
        signal.signal(getattr(signal, number), handler)

settings.register_profile("without_deadline", settings(), deadline=None)  # 0.2 s pass quickly on a busy machine
settings.load_profile("without_deadline")

if os.name != "posix":  # Windows has none of these, or only with a privilege
    os.mkfifo = lambda *_: pytest.skip("needs FIFOs")  # type: ignore[attr-defined]
    Path.symlink_to = lambda *_, **__: pytest.skip("needs links")  # type: ignore[method-assign,assignment]

if "PYTEST_XDIST_WORKER" in os.environ:  # the processes of `pytest -n 2` share the processors
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if sys.platform == "darwin":  # tests compare with the CPU, and virtual machines report a GPU on which everything fails
    import torch

    torch.backends.mps.is_available = lambda: False


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


@pytest.fixture
def short_range_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning-rate range tests of 100 steps, for tests of what surrounds them."""
    monkeypatch.setattr("cifar100.training.lr_finder.range_test.MIN_STEPS", 100)


@pytest.fixture(autouse=True)
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs leave blank pictures: to draw them takes as long as a small training. `test_pictures.py` draws them."""
    pictures = sys.modules.get("cifar100.training.reporting.pictures")
    if pictures is not None:
        import numpy as np

        monkeypatch.setattr(pictures, "render", lambda figure: np.zeros((8, 8, 3), dtype=np.uint8))


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what is loaded by now: torch alone takes it half a second each time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the collector free everything at the end: nanobind complains of what it does not."""
    gc.unfreeze()
