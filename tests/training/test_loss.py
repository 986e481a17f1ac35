"""The loss functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from cifar100.config import Config, OptimizationConfig
from cifar100.config.declarations import Component
from cifar100.errors import UserError
from cifar100.training import loss as losses
from cifar100.training.loss import build_loss, class_weights

LOGITS, LABELS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]]), torch.tensor([0, 1])


def test_label_smoothing_spreads_a_fraction_over_all_classes() -> None:
    targets = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])  # 0.3 over three classes
    expected = -(targets * LOGITS.log_softmax(1)).sum(1).mean()
    smoothed = build_loss(OptimizationConfig(label_smoothing=0.3))(LOGITS, LABELS)
    torch.testing.assert_close(smoothed, expected)
    assert smoothed > build_loss(Config().optimization)(LOGITS, LABELS)


def test_labels_may_be_probabilities() -> None:
    loss = build_loss(OptimizationConfig())
    torch.testing.assert_close(loss(LOGITS, torch.eye(3)[LABELS]), loss(LOGITS, LABELS))


def test_class_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 3])
    found = class_weights(labels, 5)
    torch.testing.assert_close(found, torch.tensor([7 / 12, 7 / 6, 0, 7 / 3, 0]))
    present = np.unique(labels)
    np.testing.assert_allclose(found[present], compute_class_weight("balanced", classes=present, y=labels), rtol=1e-6)
    assert found[labels].mean() == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("mixed", [False, True])
def test_weights_multiply_the_terms_of_their_classes(smoothing: float, mixed: bool) -> None:
    weights = torch.tensor([0.5, 2.0, 1.5])
    targets = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.25, 0.75]]) if mixed else torch.eye(3)[LABELS]
    smoothed = (1 - smoothing) * targets + smoothing / 3
    expected = -(weights * smoothed * LOGITS.log_softmax(1)).sum() / 2
    loss = build_loss(OptimizationConfig(label_smoothing=smoothing, class_weights="balanced"))
    torch.testing.assert_close(loss(LOGITS, targets if mixed else LABELS, weights), expected)


def test_the_weighted_loss_is_the_mean_of_those_of_two_processes() -> None:
    weights, loss = torch.tensor([0.2, 5.0, 1.0]), build_loss(OptimizationConfig(class_weights="balanced"))
    parts = [loss(LOGITS[row : row + 1], LABELS[row : row + 1], weights) for row in (0, 1)]
    torch.testing.assert_close(loss(LOGITS, LABELS, weights), (parts[0] + parts[1]) / 2)


def test_a_loss_without_weights_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(logits: Tensor, labels: Tensor) -> Tensor:
        return logits.mean()

    monkeypatch.setattr(Component, "load", lambda component: plain)
    assert build_loss(OptimizationConfig())(LOGITS, LABELS) == LOGITS.mean()
    with pytest.raises(UserError, match="the loss cross_entropy takes no class weights; leave it out"):
        losses.build_loss(OptimizationConfig(class_weights="balanced"))
