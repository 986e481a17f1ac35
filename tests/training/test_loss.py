"""The loss functions."""

from __future__ import annotations

import torch

from cifar100.config import Config, OptimizationConfig
from cifar100.training.loss import build_loss

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
