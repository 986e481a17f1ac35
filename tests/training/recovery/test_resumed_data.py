"""A run is resumed with its own training images, in both pipelines, and nothing else in its data hinders it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from custom_folder import make_custom, paint, write_csv
from small_runs import SMALL_BATCHES, assert_same_run, epochs, small_config, stop_at

from cifar100 import commands
from cifar100.data.audit.images import image_files
from cifar100.data.audit.table import COLUMNS
from cifar100.data.dataset_info import read_info
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_custom(tmp_path / "pets", train=40, val=8, test=0)


def stopped(data: Path, pipeline: str = "packed") -> RunFolder:
    changes = {"data.source": "download", "data.batch_size": 8, "data.pipeline": pipeline}
    if pipeline == "images":
        changes["data.num_workers"] = 0
    return stop_at(2, small_config(data, **changes), name=f"with_{pipeline}")


@pytest.mark.parametrize("pipeline", [pytest.param("packed", marks=pytest.mark.slow), "images"])
def test_a_new_test_split_hinders_nothing(pipeline: str, data: Path) -> None:
    run = stopped(data, pipeline)
    assert read_info(run.dataset_info).sha256.keys() == {"train"}
    assert load_split(run.split).validation.tolist() == list(range(40, 48))
    paint(data / "t.png", "red", seed=500)
    write_csv(data / "test.csv", ["t.png"], [0])
    commands.train(resume=run)
    assert len(epochs(run)) == 3


def test_other_training_images_are_refused(data: Path) -> None:
    run = stopped(data)
    image = data / "train_images/03.png"
    before = image.read_bytes()
    paint(image, "red", seed=500)
    with pytest.raises(UserError, match=r"holds other training images or labels than .* was trained on; restore them"):
        commands.train(resume=run)
    image.write_bytes(before)
    commands.train(resume=run)
    assert len(epochs(run)) == 3


@pytest.mark.slow
def test_inverted_arrays_are_never_trained_on(data: Path) -> None:
    run = stopped(data)
    packed = DataFolder(data).packed_images("train")
    intact = np.load(packed)
    np.save(packed, 255 - intact)
    commands.train(resume=run)
    np.testing.assert_array_equal(np.load(packed), intact)


def test_a_run_whose_custom_data_have_moved_prepares_nothing_in_their_place(data: Path) -> None:
    run = stop_at(2, small_config(data, **{"data.batch_size": 8}), name="run")  # source `generated`, of the recipe
    moved = data.rename(data.parent / "zoo")
    before = sorted(path.name for path in data.parent.iterdir())
    message = f"{data} does not exist; the run was trained on pets, custom data, 2 classes; set --data.root to"
    with pytest.raises(UserError, match=re.escape(message)):
        commands.train(resume=run)
    assert sorted(path.name for path in data.parent.iterdir()) == before
    commands.train(resume=run, changes={"data.root": moved})  # the advice, followed
    assert len(epochs(run)) == 3


def test_a_run_keeps_its_excluded_images_whatever_happens_to_the_table(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = DataFolder(tiny_data)
    files = image_files(folder, folder.load("train")[1], split="train")
    label = folder.info().class_names[folder.load("train")[1][7]]
    table = tmp_path / "audit.csv"
    table.write_text(",".join(COLUMNS) + f"\nlabel,train,7,{files[7]},{label},,,,,0.9,reject\n")
    config = small_config(tiny_data, **SMALL_BATCHES, **{"data.exclude": table})
    straight = commands.train(config, experiment="straight")
    assert load_split(straight.split).excluded.tolist() == [7]
    assert "images   500 for training, 99 for validation, 1 left out" in straight.training_log.read_text()
    run = stop_at(20, config, name="stopped")
    table.unlink()
    commands.train(resume=run)
    assert_same_run(straight, run)
