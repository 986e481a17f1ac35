"""The classifier of a network: its last layer, which maps the features of an image to the logits."""

from __future__ import annotations

from torch import nn


def classifier_of(network: nn.Module) -> tuple[str, nn.Module] | None:
    """Return name and module of the classifier; None if there is none.

    It is what `get_classifier()` returns, which all networks of timm have, else the last linear layer.
    """
    own = getattr(network, "get_classifier", None)
    chosen = own() if callable(own) else None
    named = isinstance(chosen, nn.Module) and any(True for _ in chosen.parameters())
    layers = [
        (name, layer)
        for name, layer in network.named_modules()
        if (layer is chosen if named else isinstance(layer, nn.Linear))
    ]
    return layers[-1] if layers else None


def classifier_parameters(network: nn.Module) -> frozenset[str]:
    """Return the names of the parameters of the classifier. Those of several heads, as in DeiT, all count."""
    own = getattr(network, "get_classifier", None)
    chosen = own() if callable(own) else None
    if isinstance(chosen, tuple):  # one head for each token
        parameters = {id(parameter) for head in chosen for parameter in head.parameters()}
        return frozenset(name for name, parameter in network.named_parameters() if id(parameter) in parameters)
    found = classifier_of(network)
    return frozenset(f"{found[0]}.{name}" for name, _ in found[1].named_parameters()) if found else frozenset()
