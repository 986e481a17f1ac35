"""Where the images are held, as memory allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_folder import make_folder

from cifar100.data.folder import layout
from cifar100.data.folder.layout import DataFolder
from cifar100.data.loading.placement import Placement, place_images

CPU = torch.device("cpu")
BYTES = 60 * 3 * 32 * 32


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    make_folder(tmp_path)
    return DataFolder(tmp_path)


@pytest.mark.parametrize(
    ("available", "copies", "place"),
    [(2 * BYTES, 1, "memory"), (2 * BYTES - 1, 1, "mapped"), (2 * BYTES, 2, "mapped"), (None, 8, "memory")],
)
def test_images_take_at_most_half_of_the_memory(
    available: int | None, copies: int, place: str, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "available_memory", lambda: available)
    placement = place_images(folder, CPU, copies=copies)
    assert placement.place == place
    expected = np.load(folder.packed_images("train"))
    assert np.array_equal(placement.load().numpy(), expected)
    assert np.array_equal(folder.load("train")[0], expected)


def test_the_place_is_stated_with_its_size(folder: DataFolder) -> None:
    def text(device: str, place: str, copies: int = 1) -> str:
        placement = Placement(folder=folder, device=torch.device(device), place=place, copies=copies)  # type: ignore[arg-type]
        return placement.describe()

    assert text("cpu", "memory") == "0.2 MB in the memory of cpu"
    assert text("cpu", "memory", 2) == "0.2 MB in the memory of cpu in each of 2 processes"
    assert text("cuda", "device") == "0.2 MB in the memory of cuda"
    assert text("cuda:1", "memory") == "0.2 MB in the memory of the host, more than half of that of cuda:1"
    assert text("cpu", "mapped") == f"0.2 MB, more than half of the available memory: mapped from {folder.packed}"


@pytest.mark.gpu
def test_images_that_a_gpu_cannot_hold_stay_on_the_host(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda", 0)
    assert place_images(folder, cuda, copies=1).load().is_cuda
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (BYTES, BYTES))
    assert not place_images(folder, cuda, copies=1).load().is_cuda


def test_writing_to_mapped_images_changes_no_file(folder: DataFolder) -> None:
    before = folder.packed_images("train").read_bytes()
    folder.map_images("train")[0] = 0
    assert folder.packed_images("train").read_bytes() == before
