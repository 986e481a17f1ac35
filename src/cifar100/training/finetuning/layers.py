"""The layers of a network from its input to its output, for learning rates and freezing by depth."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from cifar100.models.classifier import classifier_parameters

Depths = dict[str, int]
"""Name of a parameter -> number of its layer, from 0 at the input."""


def block_depths(network: nn.Module) -> Depths:
    """Number the blocks of a network, such as the residual blocks of a ResNet; the classifier is the last one.

    A network of timm says itself what its blocks are. In another one, a block is a child of the network, or of a
    container (`nn.Sequential`, `nn.ModuleList`) in it. What has only vectors, as a batch normalisation, belongs to the
    block before it.
    """
    return _timm_depths(network, coarse=False) or _depths(network, _blocks(network))


def stage_depths(network: nn.Module) -> Depths:
    """Number the stages of a network, the stem first and the classifier last; see `block_depths`."""
    children = ((name, child) for name, child in network.named_children())
    return _timm_depths(network, coarse=True) or _depths(network, children)


def _timm_depths(network: nn.Module, *, coarse: bool) -> Depths:
    """Number the layers as a network of timm groups them; empty for others."""
    matcher = getattr(network, "group_matcher", None)
    if matcher is None:
        return {}
    from timm.models import group_parameters

    numbers: Depths = group_parameters(network, matcher(coarse=coarse), reverse=True)
    return numbers


def _blocks(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from _blocks(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _depths(network: nn.Module, layers: Iterator[tuple[str, nn.Module]]) -> Depths:
    numbers: Depths = {}
    number = 0
    for prefix, layer in layers:
        parameters = dict(layer.named_parameters())
        if numbers and any(parameter.ndim > 1 for parameter in parameters.values()):
            number += 1
        numbers |= {f"{prefix}.{name}": number for name in parameters}
    classifier = classifier_parameters(network)
    if number in {numbers[name] for name in numbers.keys() - classifier}:
        number += 1  # the last layer has more than the classifier
    numbers |= dict.fromkeys(classifier, number)
    return {name: numbers.get(name, 0) for name, _ in network.named_parameters()}  # those of the network itself: 0
