"""The figures of an evaluation against torchmetrics, scipy and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from cifar100.results import measures
from cifar100.results.measures import class_measures, confusion_matrix, fraction, measure

CLASSES = 7


@pytest.fixture(scope="module")
def case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, CLASSES, generator=generator)
    logits[:, 6] = -9  # never predicted
    labels = torch.randint(5, (500,), generator=generator)  # classes 5 and 6 have no image
    return logits, labels


def test_an_accuracy_is_an_exact_fraction() -> None:
    labels = torch.arange(10_000) % 6
    logits = nn.functional.one_hot(labels.roll(1) * (torch.arange(10_000) >= 8242) + labels * 1, 20).float()
    correct = int((logits.argmax(1) == labels).sum())
    accuracy = measure(logits, labels, num_classes=20)["accuracy"]
    assert accuracy == fraction(correct, 10_000)
    assert accuracy.value == correct / 10_000


@pytest.mark.parametrize(("correct", "total"), [(8242, 10_000), (0, 10), (10, 10), (5, 10)])
def test_the_interval_of_a_fraction_is_wilsons(correct: int, total: int) -> None:
    expected = stats.binomtest(correct, total).proportion_ci(method="wilson")
    assert fraction(correct, total).interval == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_macro_averages_are_those_of_torchmetrics(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = case
    figures = measure(logits, labels, num_classes=CLASSES)
    present = slice(0, 5)
    for name, function in (
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
        ("f1_score", multiclass_f1_score),
    ):
        by_class = function(logits, labels, num_classes=CLASSES, average="none")
        assert figures[name].value == pytest.approx(by_class[present].mean().item(), abs=1e-6)
        measured = class_measures(labels.numpy(), logits.argmax(1).numpy(), list("abcdefg"))
        assert list(measured) == list("abcde")
        assert [getattr(entry, name) for entry in measured.values()] == pytest.approx(by_class[present].tolist())


def test_a_single_image_says_next_to_nothing() -> None:
    recall = measure(torch.eye(3)[:1], torch.tensor([0]), num_classes=3)["recall"]
    assert (recall.value, recall.interval) == (1.0, (0.0, 1.0))


def test_the_confusion_matrix_is_that_of_torchmetrics(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = case
    expected = multiclass_confusion_matrix(logits.argmax(1), labels, num_classes=CLASSES)
    np.testing.assert_array_equal(confusion_matrix(labels.numpy(), logits.argmax(1).numpy(), CLASSES), expected)


def test_the_interval_of_a_mean_is_that_of_the_central_limit_theorem(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = case
    loss = measure(logits, labels, num_classes=CLASSES)["loss"]
    values = nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
    expected = stats.norm.interval(0.95, loc=values.mean(), scale=values.std() / np.sqrt(len(values)))
    assert loss.interval == pytest.approx(expected, rel=1e-5)
    assert loss.num_images == 500


def test_the_interval_of_few_images_has_no_values_that_the_metric_cannot_have() -> None:
    logits = 9 * nn.functional.one_hot(torch.zeros(20, dtype=torch.int64), 3).float()
    labels = torch.tensor([1, *[0] * 19])  # one of 20 is wrong, and confidently
    figures = measure(logits, labels, num_classes=3)
    for name in ("loss", "brier_score"):
        low, high = figures[name].interval
        assert low == 0 < figures[name].value < high


def test_the_interval_of_a_mean_does_not_exceed_possible_values() -> None:
    logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0]])
    mostly_right = measure(logits, torch.tensor([0, 0, 1]), num_classes=2)
    assert mostly_right["loss"].interval[0] == mostly_right["brier_score"].interval[0] == 0
    mostly_wrong = measure(logits, torch.tensor([1, 1, 0]), num_classes=2)
    assert mostly_wrong["brier_score"].interval[1] == 2
    assert mostly_wrong["loss"].interval[1] > 9


def test_bootstrap_intervals_cover_the_true_value_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 120 samples of a known distribution, 95 % of the intervals of the macro recall hold its true value, 0.6."""
    monkeypatch.setattr(measures, "NUM_RESAMPLES", 200)
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(120):
        labels = generator.permutation(np.arange(300) % 3)
        right = generator.random(300) < 0.6
        predicted = np.where(right, labels, (labels + 1) % 3)
        logits = torch.from_numpy(np.eye(3)[predicted]).float()
        low, high = measure(logits, torch.from_numpy(labels), num_classes=3)["recall"].interval
        covered += low <= 0.6 <= high
    assert 106 <= covered <= 119


def test_the_brier_score_of_a_worked_example() -> None:
    logits = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    assert measure(logits, torch.tensor([0, 1]), num_classes=2)["brier_score"].value == pytest.approx((0.5 + 2) / 2)
