"""An audit from end to end on small data; what cannot be used is one line, and then nothing is written."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from custom_folder import make_custom
from photographs import photographs
from PIL import Image
from torch import nn
from trained_networks import ColourNetwork, write_run

from cifar100 import commands
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.splits import Split, save_split
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.results.audit import look
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained
from cifar100.settings import load_config


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Custom data: training image 4 is a copy of 0, test image 0 a darker version of training image 3."""
    monkeypatch.chdir(tmp_path)
    root = make_custom(tmp_path / "data", train=20, val=4, test=6)
    for index, image in enumerate(photographs(30)):
        split, number = ("train", index) if index < 20 else ("val", index - 20) if index < 24 else ("test", index - 24)
        Image.fromarray(image.transpose(1, 2, 0)).save(root / f"{split}_images/{number:02d}.png")
    shutil.copy(root / "train_images/00.png", root / "train_images/04.png")
    Image.fromarray((photographs(30)[3] * 0.7).astype(np.uint8).transpose(1, 2, 0)).save(root / "test_images/00.png")
    Image.new("RGB", (32, 32), (5, 5, 5)).save(root / "val_images/01.png")
    prepare_custom(root)
    return root


def make_run(root: Path, *, held_out: int = 4, num_train: int = 24) -> RunFolder:
    info = prepare_custom(root)
    network = build_model(load_config("quickstart").model, 2)
    run = write_run(Path("logs/trial"), network, info=info, data_root=root)
    positions = np.arange(num_train)
    save_split(Split(train=positions[: num_train - held_out], validation=positions[num_train - held_out :]), run.split)
    return run


def rows(path: Path = Path("audit/audit.csv")) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def places(kind: str) -> list[tuple[str, ...]]:
    names = ("split", "index", "file", "other_split", "other_index", "other_file")
    return [tuple(row[name] for name in names) for row in rows() if row["kind"] == kind]


EXACT = [("train", "4", "train_images/04.png", "train", "0", "train_images/00.png")]
NEAR = [("train", "3", "train_images/03.png", "test", "0", "test_images/00.png")]
ODD = [("train", "21", "val_images/01.png", "", "", "")]


def test_an_audit_without_a_network_writes_both_files(folder: Path) -> None:
    report = commands.audit(folder, out="audit")
    assert report.counts == {"exact_duplicate": 1, "near_duplicate": 1, "label": 0, "oddity": 1}
    assert (places("exact_duplicate"), places("near_duplicate"), places("oddity")) == (EXACT, NEAR, ODD)
    assert "use --run RUN, or --folds K" in report.labels
    assert "Not examined" in Path("audit/audit.html").read_text()
    assert sorted(path.name for path in Path("audit").iterdir()) == ["audit.csv", "audit.html"]


def test_the_network_of_a_run_is_asked_about_the_images_that_it_has_not_seen(folder: Path) -> None:
    make_run(folder)
    report = commands.audit(run="trial", out="out")
    assert report.num_test == 6
    assert "the 4 validation and 6 test images" in report.labels
    labels = [row for row in rows(Path("out/audit.csv")) if row["kind"] == "label"]
    assert all(row["split"] == "test" or int(row["index"]) >= 20 for row in labels)
    assert all(row["label"] != row["suggested_label"] for row in labels)


def test_data_without_test_images_are_audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = make_custom(tmp_path / "data", val=4, test=0)
    make_run(root)
    report = commands.audit(run="trial", out="audit")
    assert (report.num_test, "the 4 validation images" in report.labels) == (0, True)


def test_a_run_that_has_seen_every_image_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(make_custom(tmp_path / "data", test=0), held_out=0, num_train=20)
    with pytest.raises(UserError, match=r"has seen every image; use a run with validation images, or --folds K"):
        commands.audit(run="trial", out="audit")
    assert not Path("audit").exists()


def test_a_run_on_other_images_is_one_line(folder: Path) -> None:
    make_run(folder)
    other = make_custom(folder.parent / "other", train=30)
    prepare_custom(other)
    with pytest.raises(UserError, match=r"was trained on other training images or labels"):
        commands.audit(other, run="trial")
    assert not Path("audit").exists()


def test_a_folder_without_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist; pass the data folder, or prepare it"):
        commands.audit(tmp_path / "nothing", out=tmp_path / "audit")
    assert not (tmp_path / "audit").exists()


def test_a_network_without_features_still_finds_duplicates_by_hash(folder: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 32), nn.Flatten())
    trained = load_trained(write_run(Path("logs/other"), network, info=prepare_custom(folder)), "best", network=network)
    logits, features = look(trained, photographs(3))
    assert (logits.shape, features) == ((3, 2), None)
    features = look(load_trained(make_run(folder), "best"), photographs(3))[1]
    assert features is not None
    assert len(features) == 3


def test_an_audit_is_not_written_between_the_files_of_a_run(folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a run", ColourNetwork(6))
    with pytest.raises(
        UserError, match=r"a run is the folder of a run; choose another, such as --out '.*/a run/audit'\."
    ):
        commands.audit(folder, out=run.path)
    assert not list(run.path.glob("audit*"))


def test_verdicts_are_never_overwritten(folder: Path) -> None:
    commands.audit(folder, out="audit")
    commands.audit(folder, out="audit")  # without verdicts there is nothing to lose
    table = Path("audit/audit.csv")
    lines = table.read_text().splitlines()
    lines[1] += "keep"
    table.write_text("\n".join(lines) + "\n")
    before = table.read_bytes()
    with pytest.raises(UserError, match=r"audit.csv holds 1 verdicts, which would be lost; rename it"):
        commands.audit(folder, out="audit")
    assert table.read_bytes() == before


def test_an_edited_table_is_applied(folder: Path) -> None:
    commands.audit(folder, out="audit")
    table = Path("audit/audit.csv")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line + "reject" for line in lines[1:])]) + "\n")
    exclusion = commands.apply_audit(table, folder)
    assert (exclusion.train.tolist(), exclusion.test.tolist(), exclusion.num_train) == ([3, 4, 21], [], 24)
    table.write_text(table.read_text().replace(",3,", ",300,"))
    with pytest.raises(UserError, match=r"line 3: index is '300', expected 0 to 23"):
        commands.apply_audit(table, folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "x", "folds": 3}, "cannot be used together"),
        ({"folds": 1}, "--folds is 1, but it must be a whole number from 2 to 100"),
        ({"folds": True}, "--folds is"),
        ({"run": "missing"}, "found no run 'missing'"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(options: dict[str, object], message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message):
        commands.audit(folder, **options)  # type: ignore[arg-type]
