"""Measure the statistics of batch norm again: those of averaged weights are not the average of the statistics.

Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_statistics(network: nn.Module) -> bool:
    """Return whether a network has layers of batch norm with running statistics."""
    return bool(_layers(network))


@torch.no_grad()
def measure_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of all batch-norm layers by their means over batches, in place.

    All other layers are in evaluation mode, so that dropout and stochastic depth have no effect. The network is in
    evaluation mode afterwards.

    Args:
        network: the network, on its device.
        batches: at least one; what the network takes, of the same size each, because they count the same.
    """
    layers = _layers(network)
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    try:
        for batch in batches:
            network(batch)
    finally:
        network.eval()
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _layers(network: nn.Module) -> list[_BatchNorm]:
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [layer for layer in layers if layer.track_running_stats]
