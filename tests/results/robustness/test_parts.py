"""The optional parts of an evaluation: which lists fit which data, and the figures in the result."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corruption_folder import write_corruptions
from list_files import duplicates_text, entry, errors_text
from small_folder import make_folder
from trained_networks import ColourNetwork, write_run

from cifar100 import commands
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.description import OFFICIAL_SHA256
from cifar100.data.folder.layout import DataFolder
from cifar100.data.sources import published_lists
from cifar100.errors import UserError
from cifar100.results.measures import fraction
from cifar100.results.robustness import generated_corruptions, parts
from cifar100.results.robustness.corruptions import COUNTED
from cifar100.results.robustness.parts import GENERATED, Measured, Parts, PreparedParts
from cifar100.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of a custom network on 60 training images, and 10 test images of 5 classes."""
    info = make_folder(tmp_path / "data")
    return write_run(tmp_path / "run", ColourNetwork(5), info=info, data_root=tmp_path / "data")


def network() -> ColourNetwork:
    return ColourNetwork(5)


def test_every_part_is_in_the_result_and_in_the_file(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(duplicates_text((3, 0, 0.1, 0), (4, 1, 0.2, 2)))
    (tmp_path / "mine.json").write_text(errors_text(entry(2, 2, 4, (0, 5, 0, 0)), entry(3, 3, 1, (1, 1, 1, 2))))
    images, labels = DataFolder(tmp_path / "data").load("test")
    write_corruptions(tmp_path / "corrupted", images, labels)
    evaluation = commands.evaluate(
        run.path,
        duplicates=tmp_path / "mine.csv",
        label_errors=tmp_path / "mine.json",
        corruptions=tmp_path / "corrupted",
        network=network(),
    )
    robustness = evaluation.robustness
    assert robustness is not None
    assert robustness.duplicates is not None
    assert robustness.label_errors is not None
    assert robustness.corruptions is not None
    assert robustness.duplicates.without_duplicates.num_images == 8
    assert robustness.label_errors.corrected.num_images == 9
    for accuracy in robustness.corruptions.by_corruption.values():
        assert accuracy.by_severity[0].value == evaluation.top1  # severity 1 is the image itself
    written = json.loads(run.evaluation("test").read_text())["robustness"]
    assert written["duplicates"]["list"] == str(tmp_path / "mine.csv")
    assert written["label_errors"]["num_left_out"] == 1
    assert written["corruptions"]["mean_accuracy"]["value"] == robustness.corruptions.mean_accuracy.value
    assert list(written["corruptions"]["by_corruption"]) == list(COUNTED)


def test_nothing_is_measured_unless_asked_for(run: RunFolder) -> None:
    assert commands.evaluate(run.path, network=network()).robustness is None


def test_generated_corruptions_of_either_split(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated_corruptions.GeneratedCorruptions, "names", ("contrast", "pixelate"))
    robustness = commands.evaluate(run.path, corruptions="generated", network=network()).robustness
    assert robustness is not None
    assert robustness.corruptions is not None
    assert "not CIFAR-100-C" in robustness.corruptions.source
    assert set(robustness.corruptions.left_out) == set(COUNTED) - {"contrast", "pixelate"}


@pytest.mark.parametrize("options", [{"fair": True}, {"corrected": True}])
def test_a_published_list_is_not_for_other_data(options: dict[str, bool], run: RunFolder) -> None:
    with pytest.raises(UserError, match=r"holds small, custom data, 5 classes, but .* official test images"):
        commands.evaluate(run.path, network=network(), **options)
    assert not run.evaluation("test").exists()


def test_a_copy_of_a_published_list_is_not_for_other_data_either(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = duplicates_text((3, 0, 0.1, 0))
    sha256 = published_lists.hashlib.sha256(text.encode()).hexdigest()
    monkeypatch.setattr(parts, "DUPLICATES", replace(published_lists.DUPLICATES, sha256=sha256))
    (tmp_path / "copy.csv").write_bytes(text.encode())
    with pytest.raises(UserError, match="official test images"):
        commands.evaluate(run.path, network=network(), duplicates=tmp_path / "copy.csv")


@pytest.mark.parametrize("name", ["fair", "corrected"])
def test_a_flag_is_a_flag(name: str, run: RunFolder) -> None:
    with pytest.raises(UserError, match=f"{name} is no, but it must be True or False"):
        commands.evaluate(run.path, network=network(), **{name: "no"})


INFO = DatasetInfo(
    name="CIFAR-100",
    origin="official",
    class_names=("a", "b"),
    superclass_names=(),
    class_to_superclass=(),
    num_train=50,
    num_test=4,
    sha256=OFFICIAL_SHA256,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
)


def measured(root: Path, **changes: object) -> Measured:
    official = Measured(
        images=np.zeros((4, 3, 32, 32), dtype=np.uint8),
        labels=np.array([0, 1, 0, 1]),
        split="test",
        data=INFO,
        root=root,
        trained_on=INFO,
    )
    return replace(official, **changes)


def publish(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Put small published lists into the data folder."""
    for name, text in (
        ("DUPLICATES", duplicates_text((1, 40, 0.1, 0))),
        ("LABEL_ERRORS", errors_text(entry(0, 0, 1, (0, 5, 0, 0)))),
    ):
        published = getattr(published_lists, name)
        sha256 = published_lists.hashlib.sha256(text.encode()).hexdigest()
        monkeypatch.setattr(parts, name, replace(published, sha256=sha256, num_bytes=len(text)))
        (root / published.name).write_bytes(text.encode())


def test_published_lists_of_the_official_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, tmp_path)
    prepared = PreparedParts(Parts(fair=True, corrected=True), measured(tmp_path))
    figures = prepared.measure(np.array([1, 1, 1, 1]), lambda images: images)
    assert figures is not None
    assert figures.duplicates is not None
    assert figures.duplicates.list == "ciFAIR's list of near-duplicates"
    assert figures.duplicates.without_duplicates == fraction(1, 3)
    assert figures.label_errors is not None
    assert figures.label_errors.corrected == fraction(3, 4)


def test_the_training_images_must_be_those_of_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, tmp_path)
    other = replace(INFO, origin="altered", sha256=OFFICIAL_SHA256 | {"train": "0" * 64})
    with pytest.raises(UserError, match=r"was trained on CIFAR-100, not the official release.*leave out --fair"):
        PreparedParts(Parts(fair=True), measured(tmp_path, trained_on=other))
    PreparedParts(Parts(corrected=True), measured(tmp_path, trained_on=other))


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        (Parts(fair=True), "--fair"),
        (Parts(corrected=True), "--corrected"),
        (Parts(duplicates=Path("my.csv")), "--duplicates"),
        (Parts(corruptions=Path("folder")), "--corruptions DIR"),
    ],
)
def test_the_lists_and_files_are_about_test_images(asked: Parts, option: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"{option} needs the test images, but --split is validation")):
        PreparedParts(asked, measured(tmp_path, split="validation"))
    PreparedParts(Parts(corruptions=GENERATED), measured(tmp_path, split="validation"))
