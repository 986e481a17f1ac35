"""Labels that were changed are found."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from cifar100.data.audit.label_errors import label_suspects
from cifar100.errors import UserError


def probabilities(truth: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Return those of a network that is usually right, and sure in different degrees."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1, (len(truth), num_classes))
    logits[np.arange(len(truth)), truth] += generator.uniform(2, 6, len(truth))
    values = np.exp(logits)
    return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)


def test_changed_labels_are_found_with_the_right_suggestion() -> None:
    truth = np.arange(500, dtype=np.int64) % 5
    given = probabilities(truth, num_classes=6)  # class 5 has no image
    labels = truth.copy()
    changed = np.arange(0, 500, 25)
    labels[changed] = (labels[changed] + 1) % 5
    found = label_suspects(labels, given)
    assert len(np.intersect1d(found.rows, changed)) >= 0.8 * len(changed)
    sure = np.isin(found.rows[:10], changed)
    assert sure.all()
    assert (found.suggested[:10] == truth[found.rows[:10]]).all()
    margins = given[found.rows, found.suggested] - given[found.rows, labels[found.rows]]
    assert found.scores == pytest.approx((1 + margins) / 2, abs=1e-6)
    assert (np.diff(found.scores) <= 0).all()


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("cleanlab"):
            raise ImportError("No module named 'cleanlab'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'install it: pip install "cifar100\[audit\]"'):
        label_suspects(np.zeros(2, dtype=np.int64), np.ones((2, 1), dtype=np.float32))
