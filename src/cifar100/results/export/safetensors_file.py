"""Export the weights alone: safetensors, with the names of the state dict. ResNets have torchvision's names."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from cifar100.results.exported.extra import need


def safetensors_bytes(network: nn.Module, metadata: dict[str, str]) -> bytes:
    """Return the state dict of a network as a safetensors file.

    Raises:
        UserError: the package is not installed.
    """
    need("safetensors", to="write a safetensors file")
    from safetensors.torch import save

    weights = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    return save(weights, metadata={"format": "pt", **metadata})


def with_weights_from(content: bytes, network: nn.Module) -> nn.Module:
    """Return a copy of the network with the weights of a file that `safetensors_bytes` has made."""
    from safetensors.torch import load

    weights: dict[str, Tensor] = load(content)
    restored = copy.deepcopy(network)
    for value in restored.state_dict().values():
        value.zero_()
    restored.load_state_dict(weights)
    return restored.eval()
