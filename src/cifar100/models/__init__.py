"""The networks by name.

A network maps images, float (N, 3, H, W) and normalised, to logits (N, num_classes). A network
that computes weights from training images has a method `init_from_images(images)`. It is called once before training,
with normalised images; the result is in the state dict.

To add a network, add a file to this folder with a function

    @network("my_net")
    def my_net(name: str, num_classes: int, *, width: Annotated[int, Range(1)] = 64) -> nn.Module:

`Annotated` is Python's; ranges and prerequisites are in `cifar100.config.types`. Keyword-only arguments become
settings, `--model.width` here, with their defaults, ranges, and the descriptions under `Args:` as help. The command
line, the checks and the tests find the file by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from cifar100.config import ModelConfig
from cifar100.config.declarations import Component, components
from cifar100.config.shown_values import shown
from cifar100.errors import UserError

Function = TypeVar("Function", bound=Callable[..., nn.Module])


def network(*names: str) -> Callable[[Function], Function]:
    """Register a function `(name, num_classes, *, settings) -> nn.Module` under one or more names of `model.name`."""
    return lambda function: function


def networks() -> dict[str, Component]:
    """Return the registered networks by name."""
    return components("models", "network")


NetworkSource = nn.Module | Callable[[int], nn.Module]
"""A network, or a function from the number of classes to one."""


def make_network(source: NetworkSource | None, config: ModelConfig, num_classes: int) -> nn.Module:
    """Return the network of a Python caller, or build the one that `config` names if there is none."""
    if source is None:
        return build_model(config, num_classes)
    network = source if isinstance(source, nn.Module) or not callable(source) else source(num_classes)
    if not isinstance(network, nn.Module):
        raise UserError(
            f"network is {shown(source)}, but it must be a torch.nn.Module, or a function of the number of classes "
            "that returns one."
        )
    return network


def build_model(config: ModelConfig, num_classes: int) -> nn.Module:
    """Build the network that `config` names, with random parameters from torch's global generator."""
    component = networks()[config.name]
    values = {setting.name: getattr(config, setting.name) for setting in component.settings}
    model: nn.Module = component.load()(
        config.name, num_classes, **{name: value for name, value in values.items() if value is not None}
    )
    return model


def use_channels_last(network: nn.Module) -> None:
    """Convert the weights of the convolutions to the (N, H, W, C) memory layout, in place; outputs follow it."""
    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
