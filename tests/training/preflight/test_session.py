"""What surrounds a training: its data, its run folder and lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cifar100.errors import UserError
from cifar100.files.locks import is_held
from cifar100.process.stopping import StopSignal
from cifar100.runs.folder import RunFolder
from cifar100.runs.status import RUNNING, read_status, write_status
from cifar100.settings import load_config
from cifar100.training.distributed.processes import Processes
from cifar100.training.preflight import session
from cifar100.training.preflight.custom_parts import CustomParts
from cifar100.training.preflight.session import check, created, holding_run, prepare_data


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fill(folder: RunFolder, name: str) -> None:
    write_status(folder, RUNNING)


def test_a_run_is_held_while_it_trains_and_its_end_is_recorded() -> None:
    with StopSignal() as signal, created("mine", fill, Processes(), signal) as run:
        assert is_held(run.lock)
        assert read_status(run)["status"] == "running"
        with pytest.raises(UserError, match=r"logs.mine is in use by process"), holding_run(run, Processes()):
            pass
    assert not is_held(run.lock)
    assert read_status(run)["status"] == "finished"


def test_a_full_disk_inside_is_one_line_and_a_failed_run() -> None:
    with (
        StopSignal() as signal,
        pytest.raises(UserError, match=r"logs.mine cannot be written"),
        created("mine", fill, Processes(), signal) as run,
    ):
        raise OSError(28, "No space left on device")
    assert read_status(run)["status"] == "failed"


@pytest.mark.parametrize(("pipeline", "needs_images"), [("packed", False), ("images", True)])
def test_only_the_images_pipeline_needs_the_image_files(
    pipeline: str, needs_images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(session, "ensure_prepared", lambda *_, **options: asked.append(options))
    prepare_data(load_config("original" if needs_images else "laptop"), Processes())
    assert asked == [{"needs_images": needs_images, "image_size": 32, "skip_damaged": False}]


def test_a_custom_data_module_needs_neither_workers_nor_memory_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("check_workers", "check_memory"):
        monkeypatch.setattr(session, name, lambda *_, **__: pytest.fail("checked"))
    check(load_config("laptop"), None, None, CustomParts())  # type: ignore[arg-type]  # the data are not used
