"""On which images a run is measured, and what is said if they are others than those of the run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from custom_folder import make_custom, paint, write_csv
from trained_networks import ColourNetwork, write_run

from cifar100 import commands
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.release_images import prepare_release
from cifar100.data.folder.splits import Split, save_split
from cifar100.data.sources.shapes100 import draw
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.results.evaluate import Evaluation, evaluate
from cifar100.runs.folder import RunFolder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_custom(tmp_path / "data")


@pytest.fixture
def run(data: Path) -> RunFolder:
    """A run on 20 training images, of which 5 are for validation, and 6 test images, that knows red from blue."""
    network = ColourNetwork(2)
    with torch.no_grad():
        network.head.weight[:] = torch.tensor([[5.0, 0, -5], [-5, 0, 5]])
        network.head.bias.zero_()
    run = write_run(data.parent / "run", network, info=prepare_custom(data), data_root=data)
    save_split(Split(train=np.arange(15), validation=np.arange(15, 20)), run.split)
    return run


def measured(run: RunFolder, split: str = "test", root: Path | None = None) -> Evaluation:
    return evaluate(run, split=split, checkpoint="best", network=ColourNetwork, data_root=root)  # type: ignore[arg-type]


def swap_colours(data: Path) -> None:
    """Paint the test images in the colour of the other class, under the same names."""
    for index in range(6):
        paint(data / f"test_images/{index:02d}.png", "blue" if index % 2 == 0 else "red", seed=90 + index)


def test_replaced_images_are_never_measured_as_the_old_ones(
    run: RunFolder, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(run).top1 == 1
    swap_colours(data)
    root = re.escape(as_argument(data))
    with pytest.raises(UserError, match=rf"holds other test images .*6, as before.*evaluate .*run --data.root {root}"):
        measured(run)
    assert "test_images/00.png and 5 more files have changed since preparation" in capsys.readouterr().out
    result = measured(run, root=data)  # the advice, followed
    assert result.top1 == 0
    assert f"{data} holds other test images or labels than the run was trained with" in capsys.readouterr().out
    assert json.loads(run.evaluation("test").read_text())["metrics"]["accuracy"]["value"] == 0


def test_edited_test_labels_are_noticed(run: RunFolder, data: Path) -> None:
    write_csv(data / "test.csv", [f"test_images/{index:02d}.png" for index in range(6)], [1, 0] * 3)
    with pytest.raises(UserError, match="holds other test images or labels"):
        measured(run)
    assert measured(run, root=data).top1 == 0
    assert measured(run, "validation").top1 == 1, "the training images are the same"


def test_other_training_images_have_no_validation_images_of_the_run(run: RunFolder, data: Path) -> None:
    paint(data / "train_images/00.png", "red", seed=99)
    for root in (None, data):
        with pytest.raises(UserError, match=r"holds other training images .* evaluate ") as caught:
            measured(run, "validation", root)
        assert ("set --data.root" in str(caught.value)) == (root is None)
    assert measured(run).top1 == 1, "the advice, followed"


def test_every_advice_after_pictures_were_replaced_leads_on(run: RunFolder, data: Path) -> None:
    paint(data / "train_images/00.png", "red", seed=99)
    swap_colours(data)
    given = re.escape(as_argument(data))
    with pytest.raises(UserError, match=rf"measure the test images: cifar100 evaluate .*run --data.root {given}$"):
        measured(run, "validation")
    assert measured(run, root=data).top1 == 0, "the advice, followed"
    (data / "test.csv").unlink()
    for root in (None, data):
        with pytest.raises(UserError, match=r"list test images in a test.csv and measure those$") as caught:
            measured(run, "validation", root)
        assert "evaluate" not in str(caught.value)
        with pytest.raises(
            UserError, match=r"has no test split; add folders test/CLASS or list test images in a test.csv\.$"
        ):
            measured(run, "test", root)


def test_a_folder_of_other_things_is_not_advised_to_prepare(tmp_path: Path) -> None:
    root = tmp_path / "root"
    info = prepare_release(draw(train_per_class=1, test_per_class=1), root)
    run = write_run(tmp_path / "run", ColourNetwork(100), info=info, data_root=root)
    shutil.rmtree(root)
    with pytest.raises(UserError, match=r"or prepare it again: cifar100 prepare --source generated --root"):
        measured(run)
    root.mkdir()
    (root / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"set --data.root to the data folder\.$"):
        measured(run)


def test_a_test_split_that_is_added_later_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_custom(tmp_path / "data", test=0)
    run = write_run(tmp_path / "run", ColourNetwork(2), info=prepare_custom(data), data_root=data)
    with pytest.raises(UserError, match=r"has no test split; .* and measure with --split validation\.$"):
        measured(run)
    paint(data / "t.png", "red", seed=50)
    write_csv(data / "test.csv", ["t.png"], [0])
    assert measured(run).num_images == 1
    assert f"{data} has gained a test split since run was trained" in capsys.readouterr().out


def test_another_folder_with_the_same_classes_can_be_measured(run: RunFolder, data: Path) -> None:
    other = make_custom(data.parent / "other", train=4, test=4)
    result = measured(run, root=other)
    assert (result.num_images, result.data) == (4, "other, custom data, 2 classes")
    assert measured(run).data == "data, custom data, 2 classes"
    moved = data.rename(data.parent / "moved")
    with pytest.raises(UserError, match=r"data does not exist; the run was trained on .*--data.root"):
        measured(run)
    assert measured(run, "validation", moved).top1 == 1, "the same images in another place"


def test_other_classes_are_refused(run: RunFolder, data: Path) -> None:
    other = shutil.copytree(data, data.parent / "other")
    for name in ("train.csv", "test.csv"):
        (other / name).write_text((other / name).read_text().replace("blue", "green"))
    with pytest.raises(UserError, match=r"other classes than the run .*\(class 1 is 'green', expected 'blue'\)"):
        measured(run, root=other)
    prepare_release(draw(train_per_class=1, test_per_class=1), data.parent / "shapes")
    with pytest.raises(UserError, match=r"100 classes, expected 2"):
        measured(run, root=data.parent / "shapes")


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "pictures"])
def test_a_folder_without_data_is_refused_and_left_alone(kind: str, run: RunFolder, tmp_path: Path) -> None:
    root = tmp_path / kind
    if kind in ("empty", "pictures"):
        root.mkdir()
    if kind == "pictures":
        paint(root / "cat/1.png", "red")
    if kind == "file":
        root.touch()
    before = sorted(tmp_path.rglob("*"))
    message = r"holds no prepared data; set --data.root to a prepared data folder, or to a folder with a train"
    messages = {
        "missing": message.replace("holds no prepared data", "does not exist"),
        "file": "is a file, expected a folder",
        "pictures": "has the single class 'cat', expected at least two",
    }
    with pytest.raises(UserError, match=messages.get(kind, message)):
        measured(run, root=root)
    assert sorted(tmp_path.rglob("*")) == before


def test_inverted_arrays_are_not_measured(run: RunFolder, data: Path) -> None:
    packed = DataFolder(data).packed_images("test")
    np.save(packed, 255 - np.load(packed))
    assert measured(run).top1 == 1, "prepared again from the images"


def test_the_folder_of_the_images_of_a_release_is_advice_that_works(tmp_path: Path) -> None:
    root = tmp_path / "root"
    info = prepare_release(draw(train_per_class=1, test_per_class=1), root)
    run = write_run(tmp_path / "run", ColourNetwork(100), info=info, data_root=root)
    edited = next((root / "cifar100_images/test").glob("*.png"))
    paint(edited, "red")
    images = re.escape(str(root / "cifar100_images"))
    with pytest.raises(UserError, match=rf"{edited.name} has changed .* use {images} as the data folder"):
        measured(run)
    assert measured(run, root=root / "cifar100_images").num_images == 100
    with pytest.raises(UserError, match=r"to undo the change, run: cifar100 prepare --source generated --root"):
        measured(run)
    prepare_release(draw(train_per_class=1, test_per_class=1), root)
    assert measured(run).num_images == 100


def test_a_run_without_validation_images_is_refused(run: RunFolder) -> None:
    save_split(Split(train=np.arange(20), validation=np.arange(0)), run.split)
    with pytest.raises(UserError, match="has no validation images; measure the test images with --split test"):
        measured(run, "validation")
    with pytest.raises(UserError, match="has no validation images to calibrate on; leave out --calibrate"):
        commands.evaluate(run, network=ColourNetwork, calibrate=True)


def test_the_command_takes_a_folder(run: RunFolder, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(data.parent))
    result = commands.evaluate(run, network=ColourNetwork, data_root="~/data")
    assert result.num_images == 6
