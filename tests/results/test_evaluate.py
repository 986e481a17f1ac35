"""The figures of an evaluation against worked examples; whole evaluations are in tests/test_end_to_end.py."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cifar100.config import Config
from cifar100.data.folder.layout import DatasetInfo
from cifar100.results.evaluate import Evaluation, measure, measure_flip_tta, show_evaluation, wilson_interval
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork

INFO = DatasetInfo(
    name="Six things",
    origin="custom",
    class_names=("a", "b", "c", "d", "e", "f"),
    superclass_names=("first", "second"),
    class_to_superclass=(0, 0, 0, 1, 1, 1),
    num_train=6,
    num_test=4,
    sha256={},
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)


def evaluate(logits: torch.Tensor, labels: torch.Tensor) -> Evaluation:
    trained = TrainedNetwork(
        network=nn.Identity(),
        config=Config(),
        info=INFO,
        checkpoint=Path("best.ckpt"),
        averaged=False,
        epoch=3,
        device=torch.device("cpu"),
    )
    return measure(logits, labels, INFO, run=RunFolder(Path("logs/x")), trained=trained, split="test")


def test_a_worked_example() -> None:
    logits = torch.zeros(4, 6)
    logits[0, 0] = 9.0  # label a: right
    logits[1] = torch.tensor([5.0, 4, 3, 2, 1, 0])  # label b: second choice, right superclass
    logits[2] = torch.tensor([5.0, 4, 3, 2, 1, 0])  # label f: last of six, wrong superclass
    logits[3, 3] = 9.0  # label d: right
    result = evaluate(logits, torch.tensor([0, 1, 5, 3]))
    assert (result.top1, result.top5, result.superclass, result.num_images) == (0.5, 0.75, 0.75, 4)
    assert result.per_class == {"a": 1.0, "b": 0.0, "d": 1.0, "f": 0.0}  # c and e have no image
    total = math.log(sum(math.exp(value) for value in range(6)))
    sure = math.log(math.exp(9) + 5) - 9
    assert result.loss == pytest.approx((2 * sure + (total - 4) + total) / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(8242, 10000, 0.8166, 0.8315), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)],
)
def test_the_interval_is_wilsons(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


def test_what_is_shown_names_the_data_the_figures_and_the_hardest_class(capsys: pytest.CaptureFixture[str]) -> None:
    show_evaluation(evaluate(torch.eye(6)[:4], torch.tensor([0, 1, 2, 5])))
    shown = capsys.readouterr().out
    assert "Six things, custom data, 6 classes" in shown
    assert "75.00%" in shown
    assert "f 0%" in shown


def test_flip_augmentation_is_shown_apart(capsys: pytest.CaptureFixture[str]) -> None:
    logits, labels = torch.eye(6)[:4], torch.tensor([0, 1, 2, 5])
    plain = evaluate(logits, labels)
    better = logits.clone()
    better[3, 5] = 2.0
    both = replace(plain, flip_tta=measure_flip_tta(better, labels))
    show_evaluation(both)
    shown = capsys.readouterr().out
    assert "75.00%" in shown.split("with flip TTA")[0]
    assert "top-1 100.00%" in shown.split("with flip TTA")[1]
