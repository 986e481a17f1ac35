"""Sums of metrics."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cifar100.training.metric_sums import MetricSums


def test_batches_of_different_sizes_count_by_their_images() -> None:
    sums = MetricSums(["loss", "accuracy"])
    assert sums.means() == {}
    values = torch.randn(10)
    for part in values.split([4, 4, 2]):
        sums.update({"accuracy": (part > 0).float().mean(), "loss": part.mean()}, len(part))
    means = sums.means()
    assert means["loss"] == pytest.approx(values.mean().item(), abs=1e-6)
    assert means["accuracy"] == pytest.approx((values > 0).float().mean().item())
    sums.reset()
    assert sums.means() == {}


def test_the_sums_hold_no_graph() -> None:
    sums = MetricSums(["loss"])
    sums.update({"loss": torch.tensor(1.0, requires_grad=True) * 2}, 3)
    assert not sums.sums.requires_grad
    assert sums.sums.tolist() == [6.0, 3.0]


def test_the_sums_of_all_processes_leave_those_of_this_one() -> None:
    class TwoProcesses:
        root_device = torch.device("cpu")

        def reduce(self, tensor: torch.Tensor, *, reduce_op: str) -> torch.Tensor:
            assert reduce_op == "sum"
            return tensor.mul_(2)

    sums = MetricSums(["loss"])
    sums.update({"loss": torch.tensor(1.5)}, 2)
    strategy: Any = TwoProcesses()
    assert sums.reduced(strategy).tolist() == [6.0, 4.0]
    assert sums.sums.tolist() == [3.0, 2.0]
