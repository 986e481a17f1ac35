"""The metrics of an evaluation against worked examples, and what `evaluate` refuses."""

from __future__ import annotations

import json
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
from cifar100.metrics import METRICS
from cifar100.results.evaluate import Evaluation, describe, evaluate, measure, wilson_interval
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained


def described(logits: Tensor, labels: Tensor) -> Evaluation:
    return describe(logits, labels, stub(nn.Identity()), run=RunFolder(Path("logs/x")), split="test")


def test_a_worked_example() -> None:
    logits = torch.zeros(4, 6)
    logits[0, 0] = 9.0  # label a: right
    logits[1] = torch.tensor([5.0, 4, 3, 2, 1, 0])  # label b: second choice, right superclass
    logits[2] = torch.tensor([5.0, 4, 3, 2, 1, 0])  # label f: last of six, wrong superclass
    logits[3, 3] = 9.0  # label d: right
    result = described(logits, torch.tensor([0, 1, 5, 3]))
    assert (result.top1, result.top5, result.superclass, result.num_images) == (0.5, 0.75, 0.75, 4)
    assert result.metrics.keys() == METRICS.keys()
    assert result.per_class == {"a": 1.0, "b": 0.0, "d": 1.0, "f": 0.0}  # c and e have no image
    total = math.log(sum(math.exp(value) for value in range(6)))
    sure = math.log(math.exp(9) + 5) - 9
    assert result.loss == pytest.approx((2 * sure + (total - 4) + total) / 4, rel=1e-5)


def test_the_accuracy_is_an_exact_fraction() -> None:
    labels = torch.arange(10_000) % 6
    logits = nn.functional.one_hot(labels.roll(1) * (torch.arange(10_000) >= 8242) + labels * 1, 20).float()
    correct = int((logits.argmax(1) == labels).sum())
    measurement = measure(logits, labels)
    assert measurement.top1 == correct / 10_000
    assert measurement.top1_interval == wilson_interval(correct, 10_000)


def test_a_metric_takes_one_entry_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metrics.METRICS, "confidence", lambda logits, labels: logits.softmax(1).amax(1))
    result = described(torch.zeros(4, 6), torch.tensor([0, 1, 5, 3]))
    assert result.metrics["confidence"] == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(8242, 10000, 0.8166, 0.8315), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)],
)
def test_the_interval_is_wilsons(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


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
    expected = describe(trained.logits(pixels), truth, trained, run=run, split=split)
    assert replace(result, flip_tta=None) == expected
    assert result.flip_tta is not None
    assert result.flip_tta.metrics == pytest.approx(expected.metrics)  # a mean colour is the same in the mirror
    written = json.loads(run.evaluation(split).read_text())
    assert written["metrics"] == result.metrics
    assert written["flip_tta"]["metrics"] == result.flip_tta.metrics
    assert (written["epoch"], written["num_images"], written["superclass"]) == (5, len(truth), None)


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
