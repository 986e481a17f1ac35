"""FIFOs, devices, links and folders in the place of the files of a run or of data: no command hangs or follows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import small_config, stop_at

from cifar100 import commands
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs"),
    pytest.mark.timeout(60),
]

FILES = (
    *("config.yaml", "metrics.json", "status.json", "dataset.json", "split.npz", "training.log", "run.lock"),
    *("custom_parts.json", "lightning_checkpoints/best.ckpt", "lightning_checkpoints/last.ckpt"),
    *("lightning_checkpoints/last.ckpt.sha256", "model_info.txt", "evaluation_validation.json"),
    *("metrics.csv", "learning_curves.png", "train_batch.png"),
)

DATA_FILES = ("dataset.json", "packed/train_images.npy", "packed/train_labels.npy")


def folder(path: Path) -> None:
    path.mkdir()


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS: tuple[Callable[[Path], None], ...] = (os.mkfifo, folder, dangling_link, endless_device)


@pytest.fixture(scope="module")
def stopped(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run that was stopped after 20 of 45 steps; not to be changed."""
    place = tmp_path_factory.mktemp("stopped")
    shutil.copytree(tiny_data, place / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        stop_at(20, small_config(Path("data")), name="run")
    return place


@pytest.fixture
def run(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    shutil.copytree(stopped, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return RunFolder(Path("logs/run"))


def put(kind: Callable[[Path], None], path: Path) -> None:
    path.unlink(missing_ok=True)
    kind(path)


def value_or_line(action: Callable[[], object]) -> None:
    message = ""
    try:
        action()
    except UserError as error:
        message = str(error)
    assert message == "" or message.isprintable()


QUICK_FIRST = [
    pytest.param(kind, id=kind.__name__, marks=pytest.mark.slow if position else ())
    for position, kind in enumerate(KINDS)
]


@pytest.mark.parametrize("kind", QUICK_FIRST)
@pytest.mark.parametrize("file", FILES)
def test_runs_and_evaluate_do_not_hang(kind: Callable[[Path], None], file: str, run: RunFolder) -> None:
    put(kind, run.path / file)
    commands.list_runs()
    value_or_line(lambda: commands.evaluate("run", split="validation"))
    value_or_line(lambda: commands.load_model("run", checkpoint=str(run.path / file)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("file", FILES)
def test_resuming_does_not_hang(kind: Callable[[Path], None], file: str, run: RunFolder) -> None:
    put(kind, run.path / file)
    value_or_line(lambda: commands.train(resume="run"))


@pytest.mark.parametrize("kind", QUICK_FIRST)
@pytest.mark.parametrize("file", DATA_FILES)
def test_a_data_folder_does_not_hang(kind: Callable[[Path], None], file: str, run: RunFolder) -> None:
    put(kind, Path("data") / file)
    value_or_line(lambda: commands.evaluate("run", split="validation"))


@pytest.mark.slow
@pytest.mark.parametrize("file", [file for file in FILES if file not in ("run.lock", "config.yaml")])
def test_nothing_is_written_through_a_link(file: str, run: RunFolder, tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", run.path / file
    if link.exists():
        link.rename(precious)
    else:
        precious.write_text("{}")
    before = precious.read_bytes()
    link.symlink_to(precious)
    value_or_line(lambda: commands.train(resume="run"))
    value_or_line(lambda: commands.evaluate("run", split="validation"))
    assert precious.read_bytes() == before
