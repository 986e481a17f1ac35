"""The metrics of an evaluation against worked examples, and what `evaluate` refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_folder import make_folder
from torch import Tensor, nn
from trained_networks import ColourNetwork, stub, write_run

from cifar100 import metrics
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import Split, save_split
from cifar100.errors import UserError
from cifar100.results.evaluate import Evaluation, describe, evaluate
from cifar100.results.robustness.parts import Parts
from cifar100.results.saved_evaluation import load_evaluation
from cifar100.runs.checkpoints import read_checkpoint, write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained


def described(logits: Tensor, labels: Tensor) -> Evaluation:
    run = RunFolder(Path("logs/x"))
    return describe(logits, labels, stub(nn.Identity()), run=run, split="test", images_sha256="")


def test_a_worked_example() -> None:
    logits = torch.zeros(4, 6)
    logits[0, 0] = 9.0  # label a: right
    logits[1] = torch.tensor([5.0, 4, 3, 2, 1, 0])  # label b: second choice, right superclass
    logits[2] = torch.tensor([5.0, 4, 3, 2, 1, 0])  # label f: last of six, wrong superclass
    logits[3, 3] = 9.0  # label d: right
    result = described(logits, torch.tensor([0, 1, 5, 3]))
    assert (result.top1, result.top5, result.num_images) == (0.5, 0.75, 4)
    assert result.metrics["superclass_accuracy"].value == 0.75
    # "a" is predicted three times, once rightly; "d" once, rightly. "c" and "e" have no image.
    assert {name: measures.recall for name, measures in result.per_class.items()} == {"a": 1, "b": 0, "d": 1, "f": 0}
    assert {name: measures.precision for name, measures in result.per_class.items()} == {
        "a": pytest.approx(1 / 3),
        "b": 0,
        "d": 1,
        "f": 0,
    }
    total = math.log(sum(math.exp(value) for value in range(6)))
    sure = math.log(math.exp(9) + 5) - 9
    assert result.loss == pytest.approx((2 * sure + (total - 4) + total) / 4, rel=1e-5)


def test_a_metric_takes_one_entry_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metrics.METRICS, "confidence", lambda logits, labels: logits.softmax(1).amax(1))
    result = described(torch.zeros(4, 6), torch.tensor([0, 1, 5, 3]))
    assert result.metrics["confidence"].value == pytest.approx(1 / 6)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of a custom network on 60 training images, of which 20 are for validation, and 10 test images."""
    info = make_folder(tmp_path / "data")
    torch.manual_seed(0)
    run = write_run(tmp_path / "run", ColourNetwork(5), info=info, data_root=tmp_path / "data")
    save_split(Split(train=np.arange(40), validation=np.arange(40, 60)), run.split)
    return run


@pytest.mark.parametrize(("split", "part", "first"), [("test", "test", 0), ("validation", "train", 40)])
def test_an_evaluation_is_that_of_the_networks_logits_and_is_written(
    run: RunFolder, split: str, part: str, first: int
) -> None:
    result = evaluate(run, split=split, checkpoint="best", flip_tta=True, network=ColourNetwork)  # type: ignore[arg-type]
    images, labels = DataFolder(run.path.parent / "data").load(part)  # type: ignore[arg-type]
    pixels, truth = torch.from_numpy(images[first:]), torch.from_numpy(labels[first:])
    trained = load_trained(run, "best", network=ColourNetwork)
    logits = trained.logits(pixels)
    expected = describe(logits, truth, trained, run=run, split=split, images_sha256=result.images_sha256)
    assert replace(result, flip_tta=None) == expected
    assert result.flip_tta is not None
    mirrored, plain = result.flip_tta.metrics, expected.metrics
    for name, figure in plain.items():  # a mean colour is the same in the mirror
        assert mirrored[name].value == pytest.approx(figure.value)
    saved = load_evaluation(run, split)
    assert saved is not None
    assert saved.content["metrics"]["accuracy"]["value"] == result.top1
    assert saved.content["flip_tta"]["metrics"]["loss"]["value"] == result.flip_tta.loss
    assert (saved.content["epoch"], saved.content["num_images"]) == (5, len(truth))
    assert saved.content["num_parameters"] == 3 * 5 + 5
    np.testing.assert_array_equal(saved.predicted, logits.argmax(1))
    np.testing.assert_array_equal(saved.labels, truth)
    np.testing.assert_allclose(saved.logits, logits, rtol=1e-3, atol=1e-6)


def test_the_identity_of_the_images_is_that_of_the_data(run: RunFolder) -> None:
    test = evaluate(run, split="test", checkpoint="best", network=ColourNetwork)
    assert test.images_sha256 == DataFolder(run.path.parent / "data").info().sha256["test"]
    validation = evaluate(run, split="validation", checkpoint="best", network=ColourNetwork)
    save_split(Split(train=np.arange(41), validation=np.arange(41, 60)), run.split)
    other = evaluate(run, split="validation", checkpoint="best", network=ColourNetwork)
    assert len({test.images_sha256, validation.images_sha256, other.images_sha256}) == 3


def test_a_temperature_is_fitted_on_the_validation_images_and_used(run: RunFolder) -> None:
    before = evaluate(run, split="test", checkpoint="best", network=ColourNetwork)
    assert before.calibrated is None
    after = evaluate(run, split="test", checkpoint="best", network=ColourNetwork, calibrate=True)
    assert after.calibrated is not None
    assert after.calibrated.temperature != 1
    assert after.metrics == before.metrics  # never changes a prediction
    validation = evaluate(run, split="validation", checkpoint="best", network=ColourNetwork)
    assert validation.calibrated is not None
    assert validation.calibrated.loss < validation.calibration.loss  # the minimum of these images


def test_no_temperature_is_saved_if_the_evaluation_is_refused(run: RunFolder, tmp_path: Path) -> None:
    parts = Parts(duplicates=tmp_path / "missing.csv")
    with pytest.raises(UserError, match=r"missing\.csv"):
        evaluate(run, split="test", checkpoint="best", network=ColourNetwork, calibrate=True, parts=parts)
    assert not run.calibration.exists()


def test_figures_that_cannot_be_written_are_returned_all_the_same(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run.evaluation("validation").mkdir()
    evaluation = evaluate(run, split="validation", checkpoint="best", network=ColourNetwork(5))
    assert evaluation.num_images == 20
    assert "evaluation_validation.json cannot be written" in capsys.readouterr().err


def test_a_module_serves_as_well_as_a_function(run: RunFolder) -> None:
    by_function = evaluate(run, split="test", checkpoint="best", network=ColourNetwork)
    assert evaluate(run, split="test", checkpoint="best", network=ColourNetwork(5)) == by_function


def test_a_later_evaluation_keeps_the_parts_of_the_same_weights_and_images(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duplicates = tmp_path / "duplicates.csv"
    duplicates.write_text("TestID,TrainID,Distance,Judgment\n0,1,0.1,1\n")
    parts = Parts(duplicates=duplicates)
    evaluate(run, split="test", checkpoint="best", network=ColourNetwork, parts=parts)
    evaluate(run, split="test", checkpoint="best", network=ColourNetwork)
    saved = load_evaluation(run, "test")
    assert saved is not None
    assert saved.content["robustness"]["duplicates"]["without_duplicates"]["num_images"] == 9
    monkeypatch.chdir(run.path.parent)  # the same run by another path
    evaluate(RunFolder(Path("run")), split="test", checkpoint="best", network=ColourNetwork)
    again = load_evaluation(run, "test")
    assert again is not None
    assert again.content["robustness"] == saved.content["robustness"]
    write_checkpoint({**read_checkpoint(run.checkpoints / "best.ckpt"), "epoch": 7}, run.checkpoints / "best.ckpt")
    evaluate(run, split="test", checkpoint="best", network=ColourNetwork)
    other = load_evaluation(run, "test")
    assert other is not None
    assert other.content["robustness"] is None


def test_no_temperature_is_fitted_if_every_image_is_recognised(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cifar100.results.evaluate.all_logits",
        lambda trained, images, **options: torch.eye(5)[torch.from_numpy(labels)],
    )
    _, labels = DataFolder(run.path.parent / "data").load("train")
    labels = labels[40:60]
    with pytest.raises(UserError, match=r"all 20 validation images of .* are classified correctly, so no temperature"):
        evaluate(run, split="validation", checkpoint="best", network=ColourNetwork, calibrate=True)
    assert not run.calibration.exists()
