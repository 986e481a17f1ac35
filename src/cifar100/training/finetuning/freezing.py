"""Freeze a part of a network: its weights are not trained, and it computes as in evaluation."""

from __future__ import annotations

from typing import Literal

from torch import nn

from cifar100.errors import UserError
from cifar100.models.classifier import classifier_parameters
from cifar100.training.finetuning.layers import stage_depths

Freeze = Literal["none", "stages", "backbone"]


def freeze(network: nn.Module, what: Freeze) -> list[nn.Module]:
    """Freeze parameters in place, and return the modules that are frozen as a whole.

    Keep these modules in evaluation mode, also in training: else their batch normalisations would change their
    statistics and normalise by the batch, and dropout would drop.

    what: `backbone`: all but the classifier. `stages`: the earlier half of the stages, the stem among them.

    Raises:
        UserError: the network has no classifier, or too few stages.
    """
    if what == "none":
        return []
    frozen = _frozen_parameters(network, what)
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad = False
    return _outermost(network)


def _frozen_parameters(network: nn.Module, what: Freeze) -> set[str]:
    names = {name for name, _ in network.named_parameters()}
    if what == "backbone":
        classifier = classifier_parameters(network)
        if not classifier:
            raise UserError(
                f"--model.freeze backbone trains only the classifier, but {type(network).__name__} has no final linear "
                "layer; use --model.freeze stages or none."
            )
        return names - classifier
    depths = stage_depths(network)
    last = max(depths.values(), default=0)
    frozen = {name for name, depth in depths.items() if depth < (last + 1) // 2}
    if not frozen:
        raise UserError(f"--model.freeze stages: {type(network).__name__} has only one stage; use backbone or none.")
    return frozen


def _outermost(network: nn.Module) -> list[nn.Module]:
    """Return the modules whose parameters are all frozen, without those inside of others."""
    found: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            found.append(module)
            return
        for child in module.children():
            visit(child)

    visit(network)
    return found
