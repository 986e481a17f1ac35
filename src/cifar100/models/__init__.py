"""The networks by name.

A network maps images, float (N, 3, H, W) and normalised, to logits (N, num_classes). A network
that computes weights from training images has a method `init_from_images(images)`. It is called once before training,
with normalised images; the result is in the state dict.

To add a network, add a file to this folder with a function

    @network("my_net")
    def my_net(name: str, num_classes: int, *, width: Annotated[int, Range(1)] = 64) -> nn.Module:

Its file states what is known of it: `@network("my_net", paper="Authors 2026", parameters=1_000_000)`; the keywords are
those of `network`, and `cifar100 models` shows them.

`Annotated` is Python's; ranges and prerequisites are in `cifar100.config.types`. Keyword-only arguments become
settings, `--model.width` here, with their defaults, ranges, and the descriptions under `Args:` as help. The command
line, the checks and the tests find the file by themselves. A name that ends in `/` is a family: `@network("timm/")`
also builds `timm/resnet18`. Importing this package does not load torch, so that `facts` can be read quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from cifar100.config import ModelConfig
from cifar100.config.declarations import Component, component_named, components, is_family
from cifar100.config.shown_values import shown
from cifar100.errors import UserError

if TYPE_CHECKING:
    from torch import nn

Function = TypeVar("Function", bound="Callable[..., nn.Module]")


def network(
    *names: str,
    paper: str = "",
    parameters: int | None = None,
    mult_adds: int | None = None,
    accuracy: float | None = None,
    accuracy_source: str = "",
) -> Callable[[Function], Function]:
    """Register a function `(name, num_classes, *, settings) -> nn.Module` under one or more names of `model.name`.

    The facts describe the network with its default settings. They are literals, because `cifar100.models.facts` reads
    them from the source; tests/models/test_models.py compares parameters and mult-adds with the network.

    Args:
        names: values of `model.name`.
        paper: authors and year.
        parameters: number with 100 classes.
        mult_adds: multiply-adds of the forward pass of an image of 32x32 pixels, as `summary.mult_adds` counts them.
        accuracy: published CIFAR-100 test accuracy, 0 to 1. None if the literature gives no figure for this network.
        accuracy_source: where the accuracy is published: a table of `paper`, or another paper and its table.
    """
    return lambda function: function


def networks() -> dict[str, Component]:
    """Return the networks of this package by name; without families, such as timm's."""
    return {name: component for name, component in _declared().items() if not is_family(name)}


def network_named(name: str) -> Component:
    """Return the network of a name, or its family: `timm/` for `timm/resnet18`."""
    return component_named(name, _declared())


def _declared() -> dict[str, Component]:
    return components("models", "network")


NetworkSource: TypeAlias = "nn.Module | Callable[[int], nn.Module]"
"""A network, or a function from the number of classes to one."""


def make_network(source: NetworkSource | None, config: ModelConfig, num_classes: int) -> nn.Module:
    """Return the network of a Python caller, or build the one that `config` names if there is none."""
    from torch import nn

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
    component = network_named(config.name)
    values = {setting.name: getattr(config, setting.name) for setting in component.settings}
    model: nn.Module = component.load()(
        config.name, num_classes, **{name: value for name, value in values.items() if value is not None}
    )
    return model


def use_channels_last(network: nn.Module) -> None:
    """Convert the weights of the convolutions to the (N, H, W, C) memory layout, in place; outputs follow it."""
    import torch
    from torch import nn

    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
