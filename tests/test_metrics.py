"""The metrics, against torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from cifar100.metrics import METRICS, label, text


@pytest.mark.parametrize("num_classes", [3, 20])
def test_against_torchmetrics(num_classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, num_classes, generator=generator)
    labels = torch.randint(num_classes, (200,), generator=generator)
    found = {name: metric(logits, labels) for name, metric in METRICS.items()}
    assert all(value.shape == (200,) for value in found.values())
    for name, k in (("accuracy", 1), ("top5_accuracy", min(5, num_classes))):
        expected = multiclass_accuracy(logits, labels, num_classes, average="micro", top_k=k)
        assert found[name].mean().item() == pytest.approx(expected.item())
    probabilities = logits.softmax(1)[torch.arange(200), labels]
    torch.testing.assert_close(found["loss"], -probabilities.log())


def test_labels_and_values_for_people() -> None:
    assert [label(name) for name in ("loss", "top5_accuracy", "top3_accuracy")] == [
        "loss",
        "top-5 accuracy",
        "top-3 accuracy",
    ]
    assert (text("loss", 1.23456), text("top5_accuracy", 0.5)) == ("1.2346", "50.00%")
