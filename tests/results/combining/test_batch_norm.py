"""Statistics of batch norm, measured anew."""

from __future__ import annotations

import torch
from torch import nn

from cifar100.results.combining.batch_norm import has_statistics, measure_statistics


def test_the_statistics_are_the_means_over_the_batches() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    batches = [torch.randn(8, 3, 5, 5) * (1 + number) for number in range(3)]
    measure_statistics(network, batches)
    with torch.no_grad():
        activations = [network[0](batch) for batch in batches]
    mean = torch.stack([each.mean((0, 2, 3)) for each in activations]).mean(0)
    variance = torch.stack([each.var((0, 2, 3)) for each in activations]).mean(0)
    assert torch.allclose(network[1].running_mean, mean, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(network[1].running_var, variance, atol=1e-6)  # type: ignore[arg-type]
    assert network[1].momentum == 0.1
    assert not any(module.training for module in network.modules())


def test_dropout_has_no_effect_on_what_follows_it() -> None:
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(3))
    batch = torch.randn(64, 3)
    measure_statistics(network, [batch])
    assert torch.allclose(network[1].running_mean, batch.mean(0), atol=1e-6)  # type: ignore[arg-type]


def test_networks_without_statistics_are_left_alone() -> None:
    assert not has_statistics(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)))
    assert has_statistics(nn.Sequential(nn.BatchNorm1d(2)))
