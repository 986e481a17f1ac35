"""The files of CIFAR-100-C: what is read from them, and what is wrong with others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corruption_folder import write_corruptions

from cifar100.errors import UserError
from cifar100.results.robustness import corruption_files
from cifar100.results.robustness.corruption_files import CorruptionFiles
from cifar100.results.robustness.corruptions import COUNTED

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
LABELS = np.arange(7) % 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "CIFAR-100-C"
    write_corruptions(folder, IMAGES, LABELS, names=(*COUNTED, "spatter"))
    return folder


def test_each_severity_is_a_part_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruption_files, "BATCH_SIZE", 3)
    files = CorruptionFiles(folder, LABELS)
    assert files.names == (*COUNTED, "spatter")
    for severity in range(1, 6):
        batches = list(files.batches("fog", severity))
        assert [len(batch) for batch in batches] == [3, 3, 1]
        assert np.array_equal(np.concatenate(batches), IMAGES.transpose(0, 2, 3, 1) // severity)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_labels_of_either_type_are_read(folder: Path, dtype: type[np.generic]) -> None:
    np.save(folder / "labels.npy", np.tile(LABELS, 5).astype(dtype))
    CorruptionFiles(folder, LABELS)


def test_links_to_files_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "fog.npy").rename(tmp_path / "fog.npy")
    (folder / "fog.npy").symlink_to(tmp_path / "fog.npy")
    assert len(list(CorruptionFiles(folder, LABELS).batches("fog", 5))) == 1


def replaced_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def replaced_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def saved(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


SHAPE, PLANAR = (35, 32, 32, 3), (35, 3, 32, 32)

DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "missing": ("does not exist; expected the files of CIFAR-100-C (https://zenodo.org", lambda path: path.unlink()),
    "a link": ("is a link to nowhere, which does not exist", replaced_by_link),
    "a FIFO": ("is not a regular file (a FIFO)", replaced_by_fifo),
    "a folder": ("is not a regular file (a folder)", replaced_by_folder),
    "empty": ("cannot be read (", lambda path: path.write_bytes(b"")),
    "a page": ("cannot be read (", lambda path: path.write_bytes(b"<html></html>")),
    "cut off": ("bytes); expected the files", lambda path: os.truncate(path, path.stat().st_size - 1)),
    "too long": ("bytes); expected the files", lambda path: os.truncate(path, path.stat().st_size + 1)),
    "floats": ("holds float32 (35, 32, 32, 3), expected uint8", saved(np.zeros(SHAPE, dtype=np.float32))),
    "pickled": ("an array of type object", lambda path: np.save(path, np.array([{}]), allow_pickle=True)),
    "other shape": (
        "holds uint8 (35, 3, 32, 32), expected uint8 (35, 32, 32, 3)",
        saved(np.zeros((35, 3, 32, 32), np.uint8)),
    ),
    "fewer": ("holds uint8 (7, 32, 32, 3), expected", saved(np.zeros((7, 32, 32, 3), np.uint8))),
    "wider": ("holds int64 (35, 32, 32, 3), expected uint8", saved(np.zeros(SHAPE, np.int64))),
    "no dimension": ("holds uint8 (), expected", saved(np.zeros((), np.uint8))),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_one_line_names_the_wrong_file(kind: str, folder: Path) -> None:
    found, damage = DAMAGE[kind]
    damage(folder / "zoom_blur.npy")
    with pytest.raises(UserError, match=re.escape(found)) as caught:
        CorruptionFiles(folder, LABELS)
    assert str(caught.value).startswith(f"{folder / 'zoom_blur.npy'} ")
    assert str(caught.value).isprintable()


def test_an_extra_file_that_is_wrong_is_named_as_well(folder: Path) -> None:
    np.save(folder / "spatter.npy", np.zeros(3, np.uint8))
    with pytest.raises(UserError, match=r"spatter\.npy holds uint8 \(3,\)"):
        CorruptionFiles(folder, LABELS)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.tile(LABELS, 5)[::-1], "has label 1 at 0, but the test image has 0"),
        (np.tile(LABELS, 4), "holds int64 (28,), expected labels (35,)"),
        (np.tile(LABELS, 5).astype(np.float16), "expected"),
    ],
)
def test_other_labels_are_refused(labels: np.ndarray, found: str, folder: Path) -> None:
    np.save(folder / "labels.npy", labels)
    with pytest.raises(UserError, match=re.escape(found)) as caught:
        CorruptionFiles(folder, LABELS)
    assert str(caught.value).startswith(f"{folder / 'labels.npy'} ")


def test_the_folder_itself(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fog\.npy|gaussian_noise\.npy") as caught:
        CorruptionFiles(tmp_path, LABELS)  # the folder above
    assert str(caught.value).endswith(f"; use {folder}.")
    with pytest.raises(UserError, match=r"nothing does not exist; expected the files .*, or `generated`\."):
        CorruptionFiles(tmp_path / "nothing", LABELS)
    with pytest.raises(UserError, match=r"is a file, expected a folder"):
        CorruptionFiles(folder / "fog.npy", LABELS)


def test_a_file_that_becomes_shorter_is_an_error_not_a_crash(folder: Path) -> None:
    files = CorruptionFiles(folder, LABELS)
    batches = files.batches("fog", 5)
    os.truncate(folder / "fog.npy", 1000)
    with pytest.raises(UserError, match=r"fog\.npy cannot be read"):
        next(batches)
